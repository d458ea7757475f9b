import { asBuffer } from '../bytes.ts'

/**
 * The hash that places a name in a sharded directory: the first half of MurmurHash3 x64 128 with seed 0, big-endian.
 * https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp
 *
 * 64-bit words are pairs of 32-bit halves, because BigInt arithmetic allocates; a step leaves its result in
 * `high` and `low`.
 */

const C1_HIGH = 0x87c37b91
const C1_LOW = 0x114253d5
const C2_HIGH = 0x4cf5ad43
const C2_LOW = 0x2745937f

let high = 0
let low = 0

/** Sets the word to a x b modulo 2^64. */
function multiply(aHigh: number, aLow: number, bHigh: number, bLow: number): void {
  const a0 = aLow & 0xffff
  const a1 = aLow >>> 16
  const b0 = bLow & 0xffff
  const b1 = bLow >>> 16
  const low0 = a0 * b0
  const middle = a1 * b0 + (low0 >>> 16)
  const middle2 = a0 * b1 + (middle & 0xffff)
  low = ((middle2 & 0xffff) << 16) | (low0 & 0xffff)
  // Both halves of the sum stay below 2^33, so the doubles are exact before they are cut to 32 bits.
  const carry = a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(middle2 / 0x10000)
  high = (carry + Math.imul(aHigh, bLow) + Math.imul(aLow, bHigh)) | 0
}

/** Sets the word to a + b modulo 2^64. */
function add(aHigh: number, aLow: number, bHigh: number, bLow: number): void {
  const sum = (aLow >>> 0) + (bLow >>> 0)
  low = sum | 0
  high = (aHigh + bHigh + (sum > 0xffffffff ? 1 : 0)) | 0
}

/** Rotates the word left by 1 to 31 bits. */
function rotate(bits: number): void {
  const oldHigh = high
  high = (high << bits) | (low >>> (32 - bits))
  low = (low << bits) | (oldHigh >>> (32 - bits))
}

function mixFirst(kHigh: number, kLow: number): void {
  multiply(kHigh, kLow, C1_HIGH, C1_LOW)
  rotate(31)
  multiply(high, low, C2_HIGH, C2_LOW)
}

function mixSecond(kHigh: number, kLow: number): void {
  multiply(kHigh, kLow, C2_HIGH, C2_LOW)
  // By 33 bits: the halves change places, then one bit more.
  const oldHigh = high
  high = low
  low = oldHigh
  rotate(1)
  multiply(high, low, C1_HIGH, C1_LOW)
}

/** Final avalanche of the word itself. */
function finish(): void {
  low ^= high >>> 1
  multiply(high, low, 0xff51afd7, 0xed558ccd)
  low ^= high >>> 1
  multiply(high, low, 0xc4ceb9fe, 0x1a85ec53)
  low ^= high >>> 1
}

/** 8 bytes: with 256 buckets a shard, byte i is the bucket at level i. */
export function murmur3(name: Uint8Array): Buffer {
  const bytes = asBuffer(name)
  const length = bytes.length
  const blocksEnd = length - (length % 16)
  let h1High = 0
  let h1Low = 0
  let h2High = 0
  let h2Low = 0
  for (let i = 0; i < blocksEnd; i += 16) {
    mixFirst(bytes.readInt32LE(i + 4), bytes.readInt32LE(i))
    high ^= h1High
    low ^= h1Low
    rotate(27)
    add(high, low, h2High, h2Low)
    multiply(high, low, 0, 5)
    add(high, low, 0, 0x52dce729)
    h1High = high
    h1Low = low

    mixSecond(bytes.readInt32LE(i + 12), bytes.readInt32LE(i + 8))
    high ^= h2High
    low ^= h2Low
    rotate(31)
    add(high, low, h1High, h1Low)
    multiply(high, low, 0, 5)
    add(high, low, 0, 0x38495ab5)
    h2High = high
    h2Low = low
  }

  if (length - blocksEnd > 8) {
    mixSecond(tail(bytes, blocksEnd + 12), tail(bytes, blocksEnd + 8))
    h2High ^= high
    h2Low ^= low
  }
  if (length > blocksEnd) {
    mixFirst(tail(bytes, blocksEnd + 4), tail(bytes, blocksEnd))
    h1High ^= high
    h1Low ^= low
  }

  h1Low ^= length
  h2Low ^= length
  add(h1High, h1Low, h2High, h2Low)
  h1High = high
  h1Low = low
  add(h2High, h2Low, h1High, h1Low)
  finish()
  h2High = high
  h2Low = low
  high = h1High
  low = h1Low
  finish()
  add(high, low, h2High, h2Low)

  const out = Buffer.allocUnsafe(8)
  out.writeInt32BE(high, 0)
  out.writeInt32BE(low, 4)
  return out
}

/** The 32-bit little-endian number at `at`, as if zeros followed the bytes. */
function tail(bytes: Buffer, at: number): number {
  let value = 0
  for (let i = Math.min(at + 4, bytes.length) - 1; i >= at; i--) value = (value << 8) | bytes[i]!
  return value
}
