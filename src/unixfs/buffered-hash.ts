import { createHash, type Hash } from 'node:crypto'

const BUFFER_BYTES = 64 * 1024
/** Pieces from this size on are hashed where they are. */
const LARGE_PIECE = 16 * 1024

/**
 * sha2-256 of a stream of mostly tiny pieces. A call into OpenSSL costs more than hashing a hundred bytes, so small
 * pieces are copied together first.
 */
export class BufferedHash {
  readonly #hash: Hash = createHash('sha256')
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES)
  #filled = 0

  update(bytes: Uint8Array): void {
    if (bytes.length >= LARGE_PIECE) {
      this.#flush()
      this.#hash.update(bytes)
      return
    }
    if (this.#filled + bytes.length > BUFFER_BYTES) this.#flush()
    this.#buffer.set(bytes, this.#filled)
    this.#filled += bytes.length
  }

  /** 32 bytes. Nothing can be added afterwards. */
  digest(): Buffer {
    this.#flush()
    return this.#hash.digest()
  }

  #flush(): void {
    if (this.#filled === 0) return
    this.#hash.update(this.#buffer.subarray(0, this.#filled))
    this.#filled = 0
  }
}
