import { workerData } from 'node:worker_threads'
import { checksumsOf } from '../blocks/types.ts'
import { sha256 } from '../cid.ts'
import { LeafHashMemory, word } from './leaf-hash-protocol.ts'

/** The thread of a leaf hasher: waits for a chunk, hashes it, says so, for ever. */
const memory = new LeafHashMemory(workerData as SharedArrayBuffer)
const { words } = memory

Atomics.store(words, word.ready, 1)
for (let chunk = 0; ; chunk++) {
  // Returns at once where there is one.
  Atomics.wait(words, word.given, chunk)
  const { chunk: room, length, digest, checksums } = memory.slot(chunk)
  const bytes = room.subarray(0, length[0])
  sha256(bytes).copy(digest)
  checksums.set(checksumsOf(bytes))
  Atomics.store(words, word.done, chunk + 1)
  Atomics.notify(words, word.done)
}
