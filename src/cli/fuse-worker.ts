/** A thread of a mount's server that reads requests from the device and answers them. */
import { parentPort, workerData } from 'node:worker_threads'
import type { FromWorker } from '../fs/kernel/server.ts'
import { answerRequests } from '../fs/kernel/worker.ts'
import { openServingThread, type WorkerData } from './fuse-thread.ts'

const { server, fd, counters, thread, gate } = workerData as WorkerData
const say = (message: FromWorker) => parentPort!.postMessage(message)
const serving = openServingThread(server, counters, thread, message => say({ type: 'failed', message }))
const { index } = serving.store

say({ type: 'ready' })
Atomics.wait(new Int32Array(gate), 0, 0)
answerRequests({
  fd,
  dispatcher: serving.dispatcher,
  counters: serving.counters,
  refresh: () => index.refresh(),
  pass: bytes => say({ type: 'request', bytes }),
})
// Whoever hears this ends the process; nothing here needs to be closed.
say({ type: 'ended' })
