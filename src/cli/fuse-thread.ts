import { Counters } from '../fs/counters.ts'
import { Dispatcher } from '../fs/protocol/dispatcher.ts'
import { StoreFs } from '../fs/store-fs.ts'
import { openStore, type Store } from './compose.ts'
import type { Config } from './config.ts'

/** What a server must know of the command that started it. */
export interface ServerConfig {
  config: Config
  mountpoint: string
  /** Answer extended attributes. */
  xattr: boolean
  /** As on a kernel before Linux 6.9. */
  noResend: boolean
}

/** Places of {@link WorkerData.gate}, 0 until then: threads may read the device; the early one may end. */
export const GATE = { open: 0, othersReady: 1 } as const

/** What a worker thread is given. */
export interface WorkerData {
  server: ServerConfig
  fd: number
  /** Of Counters, and the thread's row in them. */
  counters: SharedArrayBuffer
  thread: number
  /** The one that answers while the others start: it does not warm up, and ends when it is told to. */
  early: boolean
  /** See {@link GATE}. */
  gate: Int32Array<SharedArrayBuffer>
}

/** The store as one thread of a server has it, and what turns requests to it into replies. */
export interface ServingThread {
  store: Store
  fs: StoreFs
  dispatcher: Dispatcher
  counters: Float64Array
}

/** Opens the store for a thread. `failed` hears of what is answered with EIO. Throws StateError, DamagedError. */
export function openServingThread(
  { config, xattr }: ServerConfig,
  counters: SharedArrayBuffer,
  thread: number,
  failed: (message: string) => void,
): ServingThread {
  const store = openStore(config, { readOnly: true })
  const row = Counters.attach(counters).row(thread)
  const fs = new StoreFs(store.reader, store.state.folder)
  const dispatcher = new Dispatcher({
    fs,
    xattr,
    counters: row,
    failed: (what, error) => failed(`${what}: ${error instanceof Error ? error.message : error}`),
  })
  return { store, fs, dispatcher, counters: row }
}
