import { bytesToText } from '../bytes.ts'
import { MAX_DEPTH, MAX_NAME_BYTES } from './tree.ts'

/** Bytes of a path that an error shows. */
const MAX_SHOWN_BYTES = 400

const SLASH = 0x2f
const DOT = 0x2e

/**
 * Where a stream of tree events is: the names of the open directories and of the last entry in each, which the next
 * one must be sorted after. Nothing is allocated per entry.
 */
export class NameStack {
  /** The names one after the other, without separators. */
  #bytes = Buffer.alloc(4096)
  /** By level, 0 being the root's, which has no name: where its last name starts, and how long it is. */
  readonly #start = new Int32Array(MAX_DEPTH + 1)
  readonly #length = new Int32Array(MAX_DEPTH + 1)
  #depth = 0

  /** Open directories. */
  get depth(): number {
    return this.#depth
  }

  /**
   * Takes bytes [from, to) as the name of the next entry of the innermost directory. What is wrong with it, if
   * something is; then only {@link where} of the directory may be asked for still.
   */
  next(bytes: Uint8Array, from: number, to: number): string | undefined {
    const length = to - from
    const depth = this.#depth
    const start = this.#start[depth]!
    const lastLength = this.#length[depth]!
    if (length === 0) return 'an entry has an empty name'
    if (length > MAX_NAME_BYTES) return `an entry's name is ${length} bytes long, over ${MAX_NAME_BYTES}`
    if (bytes[from] === DOT && (length === 1 || (length === 2 && bytes[from + 1] === DOT))) {
      return `the name ${quoteBytes(bytes, from, to)} is not one of an entry`
    }
    if (start + length > this.#bytes.length) this.#grow(start + length)
    const last = this.#bytes
    const shorter = Math.min(length, lastLength)
    let i = 0
    while (i < shorter && bytes[from + i] === last[start + i]) i++
    if (i === length || (i < lastLength && bytes[from + i]! < last[start + i]!)) {
      if (length === lastLength && i === length) return `the name ${quoteBytes(bytes, from, to)} comes twice`
      const lastName = quoteBytes(last, start, start + lastLength)
      return `the name ${quoteBytes(bytes, from, to)} is not sorted: it comes after ${lastName}`
    }
    // What it shares with the last name was looked at then, and is in place.
    for (; i < length; i++) {
      const byte = bytes[from + i]!
      if (byte === SLASH || byte === 0) return `the name ${quoteBytes(bytes, from, to)} has a slash or a NUL byte`
      last[start + i] = byte
    }
    this.#length[depth] = length
    return undefined
  }

  /** Goes into the entry named last, or the root. What is wrong, if it is too deep. */
  enter(): string | undefined {
    const depth = this.#depth
    if (depth === MAX_DEPTH) return `directories are nested over ${MAX_DEPTH} levels deep`
    this.#start[depth + 1] = this.#start[depth]! + this.#length[depth]!
    this.#length[depth + 1] = 0
    this.#depth = depth + 1
    return undefined
  }

  /** Leaves the innermost directory, which is then the last entry of its parent. */
  leave(): void {
    this.#depth--
  }

  /** For an error: `"lib/name"` of the last entry, of its directory if `entry` is false, or `the root`. */
  where(entry: boolean): string {
    const levels = entry ? this.#depth : this.#depth - 1
    const names: Buffer[] = []
    let size = 0
    let level = levels
    for (; level > 0 && size < MAX_SHOWN_BYTES; level--) {
      const start = this.#start[level]!
      const end = start + this.#length[level]!
      // A directory without an entry so far has no last name.
      if (end > start) names.unshift(this.#bytes.subarray(start, end))
      size += end - start + 1
    }
    if (names.length === 0) return 'the root'
    return JSON.stringify(`${level > 0 ? '.../' : ''}${names.map(bytesToText).join('/')}`)
  }

  #grow(needed: number): void {
    const larger = Buffer.alloc(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(larger)
    this.#bytes = larger
  }
}

/** Foreign bytes as one line of text in quotes. */
function quoteBytes(bytes: Uint8Array, from: number, to: number): string {
  return JSON.stringify(bytesToText(bytes.subarray(from, to)))
}
