import { asBuffer } from '../bytes.ts'
import type { CidBytes } from '../cid.ts'
import { DamagedError } from '../errors.ts'
import { type KuboNode, multihashKey } from './kubo.ts'
import type { BlockReader } from './types.ts'

/** Blocks kept in memory after they were fetched, bytes. Kubo alone keeps them for longer. */
const MEMORY_BYTES = 48 * 1024 * 1024

/**
 * How long a failure that was waited for answers whoever asks again: the kernel does so at once, for one page of what
 * it could not read ahead, and a program would wait for two deadlines.
 */
const FAILURE_MS = 250

/**
 * Blocks that a Kubo node keeps. A read finds what was fetched lately; everything else is a miss, and {@link fetch}
 * brings it. One request a block, however many wait for it.
 */
export class KuboBlocks implements BlockReader {
  readonly #node: KuboNode
  /** The least recently used first. */
  readonly #memory = new Map<string, Buffer>()
  #memoryBytes = 0
  readonly #inFlight = new Map<string, Promise<void>>()
  /** What the node was asked for, and gave. */
  readonly fetched = { blocks: 0, bytes: 0 }

  constructor(node: KuboNode) {
    this.#node = node
  }

  /** Throws MissingBlockError, IntegrityError, BlockStoreError. */
  fetch(cid: CidBytes): Promise<void> {
    const key = multihashKey(cid)
    let request = this.#inFlight.get(key)
    if (request === undefined) {
      request = this.#bring(cid, key)
      this.#inFlight.set(key, request)
    }
    return request
  }

  async #bring(cid: CidBytes, key: string): Promise<void> {
    const start = performance.now()
    try {
      this.#keep(key, asBuffer(await this.#node.get(cid)))
      this.#inFlight.delete(key)
    } catch (error) {
      const waited = performance.now() - start
      if (waited > FAILURE_MS) setTimeout(() => this.#inFlight.delete(key), FAILURE_MS).unref()
      else this.#inFlight.delete(key)
      throw error
    }
  }

  #keep(key: string, bytes: Buffer): void {
    this.fetched.blocks++
    this.fetched.bytes += bytes.length
    if (!this.#memory.has(key)) this.#memoryBytes += bytes.length
    this.#memory.set(key, bytes)
    for (const [oldest, { length }] of this.#memory) {
      if (this.#memoryBytes <= MEMORY_BYTES || oldest === key) break
      this.#memory.delete(oldest)
      this.#memoryBytes -= length
    }
  }

  #recall(multihash: Uint8Array): Buffer | undefined {
    const key = asBuffer(multihash).toString('latin1')
    const bytes = this.#memory.get(key)
    if (bytes === undefined) return undefined
    this.#memory.delete(key)
    this.#memory.set(key, bytes)
    return bytes
  }

  has(multihash: Uint8Array): boolean {
    return this.#memory.has(asBuffer(multihash).toString('latin1'))
  }

  get(multihash: Uint8Array): Buffer | undefined {
    const bytes = this.#recall(multihash)
    return bytes === undefined ? undefined : Buffer.from(bytes)
  }

  readInto(multihash: Uint8Array, start: number, length: number, target: Buffer, at: number): boolean {
    const bytes = this.#recall(multihash)
    if (bytes === undefined) return false
    if (start + length > bytes.length)
      throw new DamagedError(`a block of ${bytes.length} bytes was taken for one of ${start + length} at least`)
    bytes.copy(target, at, start, start + length)
    return true
  }
}
