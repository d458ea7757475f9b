import { checksumCount } from '../blocks/types.ts'
import { CHUNK_BYTES } from './profile.ts'

/** Jobs that the thread may be behind; more than the chunks of a batch of blocks, whose memory they lie in. */
export const SLOTS = 32

const DIGEST_BYTES = 32
const CHECKSUMS = checksumCount(CHUNK_BYTES)

/** Indexes of the first words. Jobs are counted from 0, and number n lies in slot n % SLOTS. */
export const word = {
  /** Not 0 once the thread runs. */
  ready: 0,
  /** Jobs given to the thread, and those that it has done. */
  given: 1,
  done: 2,
} as const

/** Indexes of a job's words: where its chunk lies. A job of no bytes makes the thread let go of all memories. */
export const job = {
  /** Memories that must have been sent before. */
  sent: 0,
  /** Which of them it is, from 0. */
  memory: 1,
  offset: 2,
  length: 3,
} as const

/** What is sent to the thread: memory that chunks lie in. */
export interface ChunkMemory {
  memory: SharedArrayBuffer
}

const WORDS = 4
const JOB_BYTES = 4 * 4
const SLOT_BYTES = JOB_BYTES + DIGEST_BYTES + 4 * CHECKSUMS

/** One job, and what is found out about its chunk. Views of shared memory. */
export interface Slot {
  job: Int32Array
  digest: Buffer
  checksums: Uint32Array
}

/** The memory that a leaf hasher and its thread share, beside that of the chunks. */
export class LeafHashControl {
  readonly shared: SharedArrayBuffer
  readonly words: Int32Array
  readonly #slots: Slot[]

  constructor(shared = new SharedArrayBuffer(4 * WORDS + SLOTS * SLOT_BYTES)) {
    this.shared = shared
    this.words = new Int32Array(shared, 0, WORDS)
    this.#slots = Array.from({ length: SLOTS }, (_, i) => {
      const at = 4 * WORDS + i * SLOT_BYTES
      return {
        job: new Int32Array(shared, at, JOB_BYTES / 4),
        digest: Buffer.from(shared, at + JOB_BYTES, DIGEST_BYTES),
        checksums: new Uint32Array(shared, at + JOB_BYTES + DIGEST_BYTES, CHECKSUMS),
      }
    })
  }

  slot(number: number): Slot {
    return this.#slots[number % SLOTS]!
  }
}
