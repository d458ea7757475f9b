import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { checksumCount } from '../blocks/types.ts'
import { sha256 } from '../cid.ts'
import { LeafHashMemory, SLOTS, word } from './leaf-hash-protocol.ts'
import { CHUNK_BYTES } from './profile.ts'

/** Bytes of large files seen before a thread is worth its start. */
const START_BYTES = 4 * CHUNK_BYTES
/** A thread that takes longer is taken for dead. Milliseconds. */
const PATIENCE_MS = 10_000

/** A chunk and what is to be known of it. */
export interface HashedLeaf {
  /** Of a chunk that was taken from the thread: a view, valid until there is another {@link LeafHasher.room}. */
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
  #memory: LeafHashMemory | undefined
  #usable = availableParallelism() > 1
  #announced = 0
  #holder: object | undefined
  #given = 0
  #taken = 0

  /** Tells of a file that has more than one chunk. */
  announce(size: number): void {
    this.#announced += size
    if (this.#usable && this.#memory === undefined && this.#announced > START_BYTES) this.#launch()
  }

  /** True where this holder may give chunks now: the thread runs, and nobody else uses it until {@link release}. */
  acquire(holder: object): boolean {
    if (!this.#usable || this.#memory === undefined) return false
    if (Atomics.load(this.#memory.words, word.ready) === 0) return false
    this.#holder ??= holder
    return this.#holder === holder
  }

  heldBy(holder: object): boolean {
    return this.#holder === holder
  }

  /** Ends what the holder has; chunks that it gave and did not take are forgotten. */
  release(holder: object): void {
    if (!this.heldBy(holder)) return
    while (this.pending > 0) this.take()
    this.#holder = undefined
  }

  /** Chunks that were given and not taken. */
  get pending(): number {
    return this.#given - this.#taken
  }

  /** True when one must be taken before there is {@link room}. */
  get full(): boolean {
    return this.pending === SLOTS
  }

  /** Where the next chunk belongs. */
  room(length: number): Buffer {
    return this.#memory!.slot(this.#given).chunk.subarray(0, length)
  }

  /** Gives the thread the chunk in the {@link room}, which must stay as it is until it is taken. */
  give(length: number): void {
    const { words } = this.#memory!
    this.#memory!.slot(this.#given).length[0] = length
    this.#given++
    Atomics.store(words, word.given, this.#given)
    Atomics.notify(words, word.given)
  }

  /** The first chunk that was given and not taken, once it is hashed. */
  take(): HashedLeaf {
    const { words } = this.#memory!
    const { chunk, length, digest, checksums } = this.#memory!.slot(this.#taken)
    const bytes = chunk.subarray(0, length[0])
    const done = () => Atomics.load(words, word.done) > this.#taken
    if (this.#usable && !done()) this.#usable = Atomics.wait(words, word.done, this.#taken, PATIENCE_MS) !== 'timed-out'
    const leaf = done()
      ? { bytes, digest: Buffer.from(digest), checksums: checksums.slice(0, checksumCount(length[0]!)) }
      : { bytes, digest: sha256(bytes) }
    this.#taken++
    return leaf
  }

  #launch(): void {
    this.#memory = new LeafHashMemory()
    const worker = new Worker(new URL('./leaf-hash-worker.js', import.meta.url), { workerData: this.#memory.shared })
    // It never keeps the process, and its end is no error of ours: chunks are hashed here then.
    worker.unref()
    worker.on('error', () => {
      this.#usable = false
    })
  }
}
