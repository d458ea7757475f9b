import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { sha256 } from '../cid.ts'
import { awaitChange, changeState, control, type LeafHashJob } from './leaf-hash-protocol.ts'

/** A chunk below this is hashed sooner than a thread is told of it. Bytes. */
const MIN_CHUNK_BYTES = 256 * 1024
/** Large chunks seen before a thread is worth its start. */
const CHUNKS_BEFORE_START = 4
/** A thread that takes longer is taken for dead. Milliseconds. */
const PATIENCE_MS = 10_000

/**
 * Hashes leaves in a second thread, while the caller hashes the same bytes for the NAR: of a large file each byte is
 * hashed twice, and the NAR's hash cannot be cut in parts. Small files never start the thread. Only chunks in shared
 * memory can be hashed there; all others, and all where there is one processor, are hashed here.
 */
export class LeafHasher {
  readonly #words = new Int32Array(new SharedArrayBuffer(control.bytes))
  readonly #digest = Buffer.from(this.#words.buffer, control.digestOffset, 32)
  #worker: Worker | undefined
  #usable = availableParallelism() > 1
  #largeChunks = 0
  #memory: ArrayBufferLike | undefined

  /** Begins to hash a chunk, which must stay as it is until {@link finish}. False where nothing was begun. */
  start(chunk: Buffer): boolean {
    if (!this.#usable || chunk.length < MIN_CHUNK_BYTES || !(chunk.buffer instanceof SharedArrayBuffer)) return false
    if (this.#worker === undefined && ++this.#largeChunks > CHUNKS_BEFORE_START) this.#launch()
    if (Atomics.load(this.#words, control.state) !== control.idle) return false
    if (this.#memory !== chunk.buffer) {
      this.#memory = chunk.buffer
      this.#worker!.postMessage({ memory: chunk.buffer } satisfies LeafHashJob)
      Atomics.add(this.#words, control.generation, 1)
    }
    this.#words[control.offset] = chunk.byteOffset
    this.#words[control.length] = chunk.length
    changeState(this.#words, control.job, control.threadSleeps)
    return true
  }

  /** The digest of the chunk that {@link start} was given; `started` is what it said. */
  finish(chunk: Buffer, started: boolean): Buffer {
    if (!started) return sha256(chunk)
    awaitChange(this.#words, control.job, control.userSleeps, PATIENCE_MS)
    if (Atomics.load(this.#words, control.state) === control.job) {
      this.#usable = false
      return sha256(chunk)
    }
    const digest = Buffer.from(this.#digest)
    changeState(this.#words, control.idle, control.threadSleeps)
    return digest
  }

  #launch(): void {
    this.#worker = new Worker(new URL('./leaf-hash-worker.js', import.meta.url), { workerData: this.#words.buffer })
    // It never keeps the process, and its end is no error of ours: chunks are hashed here then.
    this.#worker.unref()
    this.#worker.on('error', () => {
      this.#usable = false
    })
  }
}
