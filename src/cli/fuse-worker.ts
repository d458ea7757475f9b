/** A thread of a mount's server that reads requests from the device and answers them. */
import { parentPort, workerData } from 'node:worker_threads'
import { DamagedError } from '../errors.ts'
import type { FromWorker } from '../fs/kernel/server.ts'
import { warmUp } from '../fs/kernel/warm-up.ts'
import { answerRequests } from '../fs/kernel/worker.ts'
import { openServingThread, type WorkerData } from './fuse-thread.ts'

const { server, fd, counters, thread, early, gate } = workerData as WorkerData
const say = (message: FromWorker) => parentPort!.postMessage(message)
let serves = early
const failed = (message: string) => {
  // What is damaged is said when somebody asks for it.
  if (serves) say({ type: 'failed', message })
}
const serving = openServingThread(server, counters, thread, failed)
const { index } = serving.store
const flags = new Int32Array(gate)

if (!early) {
  try {
    warmUp(serving.dispatcher, index)
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error
  }
  index.refresh()
  serving.counters.fill(0)
  serves = true
}
say({ type: 'ready' })
Atomics.wait(flags, 0, 0)
const retired = answerRequests({
  fd,
  dispatcher: serving.dispatcher,
  counters: serving.counters,
  refresh: () => index.refresh(),
  retired: early ? () => Atomics.load(flags, 1) !== 0 : () => false,
  pass: bytes => say({ type: 'request', bytes }),
})
// Whoever hears this ends the process; nothing here needs to be closed.
if (!retired) say({ type: 'ended' })
