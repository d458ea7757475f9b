import { readSync } from 'node:fs'

/**
 * Small blocks lie side by side in a pack, in the order of their tree, and who reads one is likely to read its
 * neighbours, though often not in this order, so that the kernel does not see what is coming. A small read that had to
 * wait for the disk is therefore followed by a large one around it, whose only purpose is what it leaves in the page
 * cache: for the price of one more access the neighbours come without any.
 */

/** Bytes; around the block, aligned to this. */
const WINDOW_BYTES = 256 * 1024
/** Larger reads are worth an access of their own. */
const SMALL_BYTES = 64 * 1024
/** Milliseconds; what comes from the page cache takes a tenth of this, what comes from a disk more. */
const SLOW_MS = 0.06
/** Windows in a row out of which nothing was read, before it is left alone, and for how many slow reads. */
const MAX_USELESS = 4
const PAUSE = 32

export class ReadAround {
  readonly #scratch = Buffer.allocUnsafeSlow(WINDOW_BYTES)
  /** Small reads since the last window that did not have to wait. */
  #fast = 0
  #useless = 0
  #pause = 0

  /** Performs a read of `length` bytes at `offset` of the file, and looks at how long it takes. */
  around<T>(fd: number, offset: number, length: number, read: () => T): T {
    if (length > SMALL_BYTES) return read()
    const begun = performance.now()
    const result = read()
    if (performance.now() - begun < SLOW_MS) this.#fast++
    else this.#slow(fd, offset)
    return result
  }

  #slow(fd: number, offset: number): void {
    if (this.#pause > 0) {
      this.#pause--
      return
    }
    this.#useless = this.#fast > 0 ? 0 : this.#useless + 1
    this.#fast = 0
    if (this.#useless > MAX_USELESS) {
      this.#useless = 0
      this.#pause = PAUSE
      return
    }
    try {
      readSync(fd, this.#scratch, 0, WINDOW_BYTES, offset - (offset % WINDOW_BYTES))
    } catch {
      // A bad spot near by: whoever needs it meets it.
    }
  }
}
