import { type Cipher, createCipheriv, createHash } from 'node:crypto'

const ZEROS = Buffer.alloc(64 * 1024)

/**
 * Bytes and numbers that look random and are the same for the same seed, at the speed of AES: the key stream of
 * AES-128 in counter mode under a key made from the seed.
 */
export class Seeded {
  readonly #cipher: Cipher

  constructor(seed: string) {
    this.#cipher = createCipheriv(
      'aes-128-ctr',
      createHash('sha256').update(seed).digest().subarray(0, 16),
      ZEROS.subarray(0, 16),
    )
  }

  bytes(length: number): Buffer {
    const parts: Buffer[] = []
    for (let left = length; left > 0; left -= ZEROS.length) {
      parts.push(this.#cipher.update(left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS))
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }

  /** From 0 up to, but without, 1. */
  number(): number {
    return this.bytes(6).readUIntBE(0, 6) / 2 ** 48
  }

  /** From 0 up to, but without, `limit`. */
  below(limit: number): number {
    return Math.floor(this.number() * limit)
  }
}
