import { checksumCount } from '../blocks/types.ts'
import { CHUNK_BYTES } from './profile.ts'

/** Chunks that the thread may be behind: enough that neither side waits while the other is woken. */
export const SLOTS = 8

const DIGEST_BYTES = 32
const CHECKSUMS = checksumCount(CHUNK_BYTES)

/** Indexes of the first words. Chunks are counted from 0, and number n lies in slot n % SLOTS. */
export const word = {
  /** Not 0 once the thread runs. */
  ready: 0,
  /** Chunks given to the thread, and those that it has done. */
  given: 1,
  done: 2,
} as const

const WORDS = 4
const SLOT_BYTES = 4 + DIGEST_BYTES + 4 * CHECKSUMS

/** One chunk on its way: what it is, and what is found out about it. Views of shared memory. */
export interface Slot {
  /** Room for a chunk; its first `length[0]` bytes are one. */
  chunk: Buffer
  length: Int32Array
  digest: Buffer
  checksums: Uint32Array
}

/** The memory that a leaf hasher and its thread share. */
export class LeafHashMemory {
  readonly shared: SharedArrayBuffer
  readonly words: Int32Array
  readonly slots: Slot[]

  constructor(shared = new SharedArrayBuffer(SLOTS * (CHUNK_BYTES + SLOT_BYTES) + 4 * WORDS)) {
    this.shared = shared
    const results = SLOTS * CHUNK_BYTES
    this.words = new Int32Array(shared, results + SLOTS * SLOT_BYTES, WORDS)
    this.slots = Array.from({ length: SLOTS }, (_, i) => {
      const at = results + i * SLOT_BYTES
      return {
        chunk: Buffer.from(shared, i * CHUNK_BYTES, CHUNK_BYTES),
        length: new Int32Array(shared, at, 1),
        digest: Buffer.from(shared, at + 4, DIGEST_BYTES),
        checksums: new Uint32Array(shared, at + 4 + DIGEST_BYTES, CHECKSUMS),
      }
    })
  }

  slot(chunk: number): Slot {
    return this.slots[chunk % SLOTS]!
  }
}
