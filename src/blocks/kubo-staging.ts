import { asBuffer } from '../bytes.ts'
import { type CarBlock, encodeCar } from './car.ts'
import type { KuboNode } from './kubo.ts'
import { type BlockRow, type BlockStaging, MAX_BLOCK_BYTES } from './types.ts'

/** Blocks travel in CARs of about this size: one request for thousands of small ones. Bytes. */
const BATCH_BYTES = 8 * 1024 * 1024

/**
 * Puts blocks into a Kubo node. The next batch is gathered while the last one is on its way. The index gets no rows:
 * Kubo knows itself what it has, and what is there already it does not store again.
 */
export class KuboStaging implements BlockStaging {
  readonly #node: KuboNode
  readonly #data = Buffer.allocUnsafeSlow(BATCH_BYTES + MAX_BLOCK_BYTES)
  #used = 0
  #batch: CarBlock[] = []
  /** Digests since the last sync. */
  readonly #put = new Set<string>()
  #pendingBytes = 0
  #onItsWay: Promise<void> = Promise.resolve()

  constructor(node: KuboNode) {
    this.#node = node
  }

  get pendingRows(): number {
    return this.#put.size
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  get full(): boolean {
    return this.#used >= BATCH_BYTES
  }

  reserve(size: number): Buffer {
    if (this.#used + size <= this.#data.length) return this.#data.subarray(this.#used, this.#used + size)
    // A caller that cannot wait between two blocks, as in the middle of a large file, gets room of its own.
    return Buffer.allocUnsafe(size)
  }

  put(digest: Uint8Array, bytes: Uint8Array): void {
    const key = asBuffer(digest).toString('latin1')
    if (this.#put.has(key)) return
    this.#put.add(key)
    this.#pendingBytes += bytes.length
    this.#batch.push({ digest: Buffer.from(digest), bytes: this.#place(bytes) })
  }

  #place(bytes: Uint8Array): Uint8Array {
    const { length } = bytes
    const inPlace = bytes.buffer === this.#data.buffer && bytes.byteOffset === this.#data.byteOffset + this.#used
    if (this.#used + length > this.#data.length) return Buffer.from(bytes)
    if (!inPlace) this.#data.set(bytes, this.#used)
    this.#used += length
    return this.#data.subarray(this.#used - length, this.#used)
  }

  async drain(): Promise<void> {
    if (this.#batch.length === 0) return
    const car = encodeCar(this.#batch)
    this.#batch = []
    this.#used = 0
    await this.#onItsWay
    this.#onItsWay = this.#node.importCar(car)
    // Thrown where it is waited for.
    this.#onItsWay.catch(() => {})
  }

  record(): void {}

  async sync(): Promise<BlockRow[]> {
    await this.drain()
    await this.#onItsWay
    this.#put.clear()
    this.#pendingBytes = 0
    return []
  }

  takeReused(): Buffer {
    return Buffer.alloc(0)
  }

  /** What Kubo got already is pinned by nobody and goes with its next garbage collection. */
  abandon(): void {
    this.#batch = []
    this.#used = 0
    this.#put.clear()
    this.#pendingBytes = 0
  }

  async close(): Promise<void> {
    await this.#onItsWay.catch(() => {})
  }
}
