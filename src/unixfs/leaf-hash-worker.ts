import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { checksumsOf } from '../blocks/types.ts'
import { sha256 } from '../cid.ts'
import { type ChunkMemory, job, LeafHashControl, word } from './leaf-hash-protocol.ts'

/**
 * Looks for the next job before the thread sleeps: some 0.1 ms, the time that it takes the other side to wake it, and
 * less than a chunk takes.
 */
const LOOKS = 10_000

/** The thread of a leaf hasher: waits for a chunk, hashes it, says so, for ever. */
const control = new LeafHashControl(workerData as SharedArrayBuffer)
const { words } = control
let memories: SharedArrayBuffer[] = []
let received = 0

Atomics.store(words, word.ready, 1)
for (let number = 0; ; number++) {
  for (let i = 0; i < LOOKS && Atomics.load(words, word.given) === number; i++);
  // Returns at once where there is one.
  Atomics.wait(words, word.given, number)
  const { job: place, digest, checksums } = control.slot(number)
  const length = place[job.length]!
  // Sent before the job was given, so they are there.
  for (; received < place[job.sent]!; received++) {
    memories.push((receiveMessageOnPort(parentPort!)!.message as ChunkMemory).memory)
  }
  if (length === 0) memories = []
  else {
    const chunk = Buffer.from(memories[place[job.memory]!]!, place[job.offset]!, length)
    sha256(chunk).copy(digest)
    checksums.set(checksumsOf(chunk))
  }
  Atomics.store(words, word.done, number + 1)
  Atomics.notify(words, word.done)
}
