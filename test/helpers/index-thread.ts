/** A thread that reads an index in a loop until a path appears, as a worker that blocks on a device does. */
import { parentPort, workerData } from 'node:worker_threads'
import { LmdbIndex } from '../../src/index/lmdb.ts'

const { folder, shared, baseName } = workerData as { folder: string; shared: Int32Array; baseName: string }
const index = LmdbIndex.open(folder, { readOnly: true })
let rounds = 0
for (; rounds < 20_000 || index.path(baseName) === undefined; rounds++) {
  index.path(baseName)
  index.refresh()
  Atomics.store(shared, 0, 1)
}
const timers = process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
parentPort!.postMessage({ timers, rounds })
await index.close()
