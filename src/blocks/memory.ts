import { asBuffer } from '../bytes.ts'
import { sha256Multihash } from '../cid.ts'
import { DamagedError } from '../errors.ts'
import type { BlockReader, BlockWriter } from './types.ts'

/** Blocks in a Map, for tests and for what is too small to be stored. */
export class MemoryBlocks implements BlockReader, BlockWriter {
  readonly #blocks = new Map<string, Buffer>()
  #room = Buffer.alloc(0)

  /** Number of blocks. */
  get size(): number {
    return this.#blocks.size
  }

  has(multihash: Uint8Array): boolean {
    return this.#blocks.has(keyOf(multihash))
  }

  get(multihash: Uint8Array): Buffer | undefined {
    const block = this.#blocks.get(keyOf(multihash))
    return block && Buffer.from(block)
  }

  readInto(multihash: Uint8Array, start: number, length: number, target: Buffer, at: number): boolean {
    const block = this.#blocks.get(keyOf(multihash))
    if (block === undefined) return false
    if (start + length > block.length) throw new DamagedError(`block of ${block.length} bytes is shorter than asked`)
    block.copy(target, at, start, start + length)
    return true
  }

  /** The same memory every time, as a block store's own buffer is. */
  reserve(size: number): Buffer {
    if (this.#room.length < size) this.#room = Buffer.alloc(size)
    return this.#room
  }

  put(digest: Uint8Array, bytes: Uint8Array): void {
    const key = keyOf(sha256Multihash(digest))
    if (!this.#blocks.has(key)) this.#blocks.set(key, Buffer.from(bytes))
  }

  /** Removes a block; false where there is none. */
  delete(multihash: Uint8Array): boolean {
    return this.#blocks.delete(keyOf(multihash))
  }

  /** Each block with its multihash, in the order of their first {@link put}. */
  *entries(): Generator<[multihash: Buffer, block: Buffer]> {
    for (const [key, block] of this.#blocks) yield [Buffer.from(key, 'latin1'), block]
  }
}

function keyOf(multihash: Uint8Array): string {
  return asBuffer(multihash).toString('latin1')
}
