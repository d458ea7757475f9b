/**
 * A server of a mount: a child of the supervisor, with the device as descriptor 3 and the supervisor's channel as
 * descriptor 4. It ends when the supervisor ends it or is gone.
 */
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { NixIpfsError } from '../errors.ts'
import { Counters } from '../fs/counters.ts'
import type { FromServer, FromSupervisor } from '../fs/kernel/ipc.ts'
import { FuseServer } from '../fs/kernel/server.ts'
import { overlaysAbove } from '../fs/mountinfo.ts'
import { Fetcher } from '../store/fetch.ts'
import { GATE, openServingThread, type ServerConfig, type ServingThread, type WorkerData } from './fuse-thread.ts'
import { readPackageVersion } from './version.ts'

const DEVICE_FD = 3
const FEWEST_WORKERS = 2
const MOST_WORKERS = 4

/** exit() would wait for ever for workers that read the device. What they had taken another server answers. */
const die = () => process.kill(process.pid, 'SIGKILL')

for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, error => {
    process.stderr.write(`nix-ipfs-mount: server: ${error instanceof Error ? error.stack : error}\n`)
    die()
  })
}
// From a terminal they reach all processes of the group, and it is the supervisor's to end the mount.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
process.on('disconnect', die)

const server = JSON.parse(process.argv[3]!) as ServerConfig
const send = (message: FromServer) => process.send!(message)
const threads = Math.max(FEWEST_WORKERS, Math.min(MOST_WORKERS, availableParallelism()))
const [earlyRow, mainRow] = [threads, threads + 1]
const counters = Counters.create(threads + 2)
const gate = new Int32Array(new SharedArrayBuffer(Object.keys(GATE).length * Int32Array.BYTES_PER_ELEMENT))
const startWorker = (thread: number) => {
  const early = thread === earlyRow
  const workerData: WorkerData = { server, fd: DEVICE_FD, counters: counters.shared, thread, early, gate }
  return new Worker(new URL('./fuse-worker.js', import.meta.url), { workerData })
}
const early = startWorker(earlyRow)
const { store, dispatcher } = await openOrFail()
const fetcher = new Fetcher(store.reader)
const fuse = new FuseServer({
  fd: DEVICE_FD,
  early,
  startOthers: () => Array.from({ length: threads }, (_, thread) => startWorker(thread)),
  retireEarly: () => Atomics.store(gate, GATE.othersReady, 1),
  release: () => {
    Atomics.store(gate, GATE.open, 1)
    Atomics.notify(gate, GATE.open)
  },
  dispatcher,
  counters,
  index: store.index,
  fetch: miss => fetcher.fetch(miss),
  fetched: () => store.fetched(),
  overlays: () => overlaysAbove(server.mountpoint),
  canResend: !server.noResend,
  version: readPackageVersion(),
  log: store.log,
  send,
})
process.on('message', (message: FromSupervisor) => {
  fuse.receive(message)
  // Listings need the index only, so a block store that is away keeps nobody from mounting.
  if (message.type === 'start' && !message.resend)
    store.checkBlocks().catch((error: Error) => store.log.warn(error.message))
})

/** A store that cannot be opened is no better for the next server: says so, and waits for the supervisor to end us. */
async function openOrFail(): Promise<ServingThread> {
  try {
    return openServingThread(server, counters.shared, mainRow, message => fuse.failed(message))
  } catch (error) {
    if (!(error instanceof NixIpfsError)) throw error
    send({ type: 'failed', why: error.message })
    return await new Promise<never>(() => {})
  }
}
