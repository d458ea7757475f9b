import { OPCODES } from './protocol/constants.ts'

/**
 * Counters of a server, in memory that its threads share: one row of doubles for each thread, which that thread alone
 * writes, so that counting costs an addition. Sums may lag behind by what is being written right now.
 */

/** Places of a row; below them are the numbers of requests by opcode. */
export const counter = {
  /** Requests that had to wait for a block. */
  misses: OPCODES,
  /** Bytes answered to READ. */
  bytesRead: OPCODES + 1,
  /** Requests answered with an error because something failed, not because it does not exist. */
  failures: OPCODES + 2,
  /** Requests that could not be understood. */
  malformed: OPCODES + 3,
  /** Bytes fetched because they were missing, and in how many blocks. */
  bytesFetched: OPCODES + 4,
  blocksFetched: OPCODES + 5,
  /** 1 while the thread is at a request, and how many it has taken: one that stays at the same one is stuck. */
  busy: OPCODES + 6,
  taken: OPCODES + 7,
} as const

const ROW = OPCODES + 8

export class Counters {
  readonly shared: SharedArrayBuffer

  private constructor(shared: SharedArrayBuffer) {
    this.shared = shared
  }

  /** For `threads` threads, all 0. */
  static create(threads: number): Counters {
    return new Counters(new SharedArrayBuffer(threads * ROW * Float64Array.BYTES_PER_ELEMENT))
  }

  /** Threads that they are for. */
  get rows(): number {
    return this.shared.byteLength / (ROW * Float64Array.BYTES_PER_ELEMENT)
  }

  /** The same counters, in another thread. */
  static attach(shared: SharedArrayBuffer): Counters {
    return new Counters(shared)
  }

  /** What thread number `thread` counts in. */
  row(thread: number): Float64Array {
    return new Float64Array(this.shared, thread * ROW * Float64Array.BYTES_PER_ELEMENT, ROW)
  }

  /** The sum over all threads of one place: an opcode, or one of {@link counter}. */
  sum(place: number): number {
    const all = new Float64Array(this.shared)
    let sum = 0
    for (let at = place; at < all.length; at += ROW) sum += all[at]!
    return sum
  }

  /** Requests by opcode, those that came at all. */
  requests(): Map<number, number> {
    const found = new Map<number, number>()
    for (let opcode = 0; opcode < OPCODES; opcode++) {
      const count = this.sum(opcode)
      if (count > 0) found.set(opcode, count)
    }
    return found
  }
}
