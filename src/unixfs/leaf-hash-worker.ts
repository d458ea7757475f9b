import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { sha256 } from '../cid.ts'
import { awaitChange, changeState, control, type LeafHashJob } from './leaf-hash-protocol.ts'

/** The thread of a leaf hasher: waits for a chunk, hashes it, says so, for ever. */
const words = new Int32Array(workerData as SharedArrayBuffer)
const digest = Buffer.from(words.buffer, control.digestOffset, 32)

let generation = 0
let memory: SharedArrayBuffer | undefined

Atomics.store(words, control.state, control.idle)
for (;;) {
  const state = Atomics.load(words, control.state)
  if (state !== control.job) {
    awaitChange(words, state, control.threadSleeps, Number.POSITIVE_INFINITY)
    continue
  }
  for (; generation < words[control.generation]!; generation++) {
    // Sent before the generation rose, so it is there.
    memory = (receiveMessageOnPort(parentPort!)!.message as LeafHashJob).memory
  }
  sha256(Buffer.from(memory!, words[control.offset]!, words[control.length]!)).copy(digest)
  changeState(words, control.done, control.userSleeps)
}
