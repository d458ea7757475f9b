import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { checksumCount } from '../blocks/types.ts'
import { sha256 } from '../cid.ts'
import { type ChunkMemory, job, LeafHashControl, SLOTS, word } from './leaf-hash-protocol.ts'
import { CHUNK_BYTES } from './profile.ts'

/** Bytes of large files seen before a thread is worth its start. */
const START_BYTES = 4 * CHUNK_BYTES
/** A thread that takes longer is taken for dead. Milliseconds. */
const PATIENCE_MS = 10_000

/** A chunk and what is to be known of it. */
export interface HashedLeaf {
  bytes: Buffer
  digest: Buffer
  checksums?: Uint32Array
}

/**
 * Hashes leaves in a second thread, while the caller hashes the same bytes for the NAR: of a large file each byte is
 * hashed twice, and the NAR's hash cannot be cut in parts. The thread may be some chunks behind, so that neither side
 * waits for the other to wake. Small files never start it, and where there is one processor nothing does.
 */
export class LeafHasher {
  #control: LeafHashControl | undefined
  #worker: Worker | undefined
  #usable = availableParallelism() > 1
  #announced = 0
  #holder: object | undefined
  /** Chunks that were given and not taken. */
  #chunks: Buffer[] = []
  /** Jobs that were given. */
  #given = 0
  /** Memories that the thread has, and how many were ever sent. */
  #memories: ArrayBufferLike[] = []
  #sent = 0

  /** Tells of a file that has more than one chunk. */
  announce(size: number): void {
    this.#announced += size
    if (this.#usable && this.#worker === undefined && this.#announced > START_BYTES) this.#launch()
  }

  /**
   * Gives the thread a chunk in shared memory, which must stay as it is until it is taken. False where it takes none:
   * it does not run, has too much to do, or another holder has chunks with it until {@link release}.
   */
  give(holder: object, chunk: Buffer): boolean {
    const control = this.#control
    if (!this.#usable || control === undefined || Atomics.load(control.words, word.ready) === 0) return false
    if (!(chunk.buffer instanceof SharedArrayBuffer) || this.#chunks.length === SLOTS - 1) return false
    if (this.#holder !== undefined && this.#holder !== holder) return false
    this.#holder = holder
    let memory = this.#memories.indexOf(chunk.buffer)
    if (memory < 0) {
      this.#worker!.postMessage({ memory: chunk.buffer } satisfies ChunkMemory)
      this.#sent++
      memory = this.#memories.push(chunk.buffer) - 1
    }
    this.#chunks.push(chunk)
    this.#giveJob(memory, chunk.byteOffset, chunk.length)
    return true
  }

  #giveJob(memory: number, offset: number, length: number): void {
    const { words } = this.#control!
    const place = this.#control!.slot(this.#given).job
    place[job.sent] = this.#sent
    place[job.memory] = memory
    place[job.offset] = offset
    place[job.length] = length
    Atomics.store(words, word.given, ++this.#given)
    Atomics.notify(words, word.given)
  }

  /** The chunks that this holder gave and has not taken, once they are hashed, in their order. */
  take(holder: object): HashedLeaf[] {
    if (this.#holder !== holder) return []
    const first = this.#given - this.#chunks.length
    const leaves = this.#chunks.map((bytes, i) => this.#hashed(first + i, bytes))
    this.#chunks = []
    return leaves
  }

  #hashed(number: number, bytes: Buffer): HashedLeaf {
    const { words } = this.#control!
    let done = Atomics.load(words, word.done)
    while (this.#usable && done <= number) {
      this.#usable = Atomics.wait(words, word.done, done, PATIENCE_MS) !== 'timed-out'
      done = Atomics.load(words, word.done)
    }
    if (done <= number) return { bytes, digest: sha256(bytes) }
    const { digest, checksums } = this.#control!.slot(number)
    return { bytes, digest: Buffer.from(digest), checksums: checksums.slice(0, checksumCount(bytes.length)) }
  }

  /** Ends what this holder has with the thread; chunks that it did not take are forgotten. */
  release(holder: object): void {
    if (this.#holder !== holder) return
    // The thread must have ended with their memory before it is used for something else.
    this.take(holder)
    this.#holder = undefined
    this.#memories = []
    this.#giveJob(0, 0, 0)
  }

  #launch(): void {
    this.#control = new LeafHashControl()
    this.#worker = new Worker(new URL('./leaf-hash-worker.js', import.meta.url), { workerData: this.#control.shared })
    // It never keeps the process, and its end is no error of ours: chunks are hashed here then.
    this.#worker.unref()
    this.#worker.on('error', () => {
      this.#usable = false
    })
  }
}
