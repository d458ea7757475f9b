/** A thread of a mount's server that reads requests from the device and answers them. */
import { parentPort, workerData } from 'node:worker_threads'
import { DamagedError } from '../errors.ts'
import type { FromWorker } from '../fs/kernel/server.ts'
import { warmUp } from '../fs/kernel/warm-up.ts'
import { answerRequests } from '../fs/kernel/worker.ts'
import { GATE, openServingThread, type WorkerData } from './fuse-thread.ts'

const { server, fd, counters, thread, early, gate } = workerData as WorkerData
const say = (message: FromWorker) => parentPort!.postMessage(message)
const serving = openServingThread(server, counters, thread, message => say({ type: 'failed', message }))
const { index } = serving.store

if (!early) {
  try {
    warmUp(serving.fs, index)
  } catch (error) {
    // It is said when somebody asks for it.
    if (!(error instanceof DamagedError)) throw error
  }
  index.refresh()
}
say({ type: 'ready' })
Atomics.wait(gate, GATE.open, 0)
const retired = answerRequests({
  fd,
  dispatcher: serving.dispatcher,
  counters: serving.counters,
  refresh: () => index.refresh(),
  retired: early ? () => Atomics.load(gate, GATE.othersReady) !== 0 : () => false,
  pass: bytes => say({ type: 'request', bytes }),
})
// Whoever hears this ends the process; nothing here needs to be closed.
if (!retired) say({ type: 'ended' })
