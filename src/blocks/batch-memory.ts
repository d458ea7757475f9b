import { PAGE_BYTES, pageAlignedBuffer } from './pack-file.ts'
import { MAX_BATCH_BYTES } from './pack-format.ts'

/** One batch is filled while the one before is written; a third keeps both busy when they take turns in being late. */
const BUFFERS = 3

/** Of one buffer: a batch's data, begun anywhere in its second page, and moved to anywhere in its first. */
const BUFFER_BYTES = 2 * PAGE_BYTES + MAX_BATCH_BYTES

/** The buffers of batches, and which of them are being written. */
export class BatchMemory {
  readonly #idle: Buffer[] = []
  #made = 0
  readonly #writes = new Set<Promise<void>>()

  /** True while no buffer but one can be had. */
  get full(): boolean {
    return this.#writes.size === BUFFERS - 1
  }

  /** A buffer to be filled. There is always one, if no more are given to {@link busy} than {@link full} allows. */
  take(): Buffer {
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    if (this.#made === BUFFERS) throw new RangeError('all batches are being written')
    this.#made++
    return pageAlignedBuffer(BUFFER_BYTES)
  }

  /** Takes a buffer back once it is written. */
  busy(buffer: Buffer, write: Promise<void>): void {
    const written = write.then(() => {
      this.#idle.push(buffer)
      this.#writes.delete(written)
    })
    this.#writes.add(written)
    // Thrown where it is waited for.
    written.catch(() => {})
  }

  /** Waits until not {@link full}. Throws what a write has failed with. */
  async drain(): Promise<void> {
    if (this.full) await Promise.race(this.#writes)
  }

  /** Waits until nothing is being written. Throws what a write has failed with. */
  async written(): Promise<void> {
    await Promise.all(this.#writes)
  }
}
