/**
 * Bounded little-endian reader and growing writer, the one way this program reads and writes binary records.
 * A read past the end gives `undefined` and moves nothing; integers above 2^53 - 1 count as past the end, so that
 * every number handed out is exact.
 */

const MAX_VARINT_BYTES = 10

export class ByteReader {
  readonly bytes: Buffer
  offset: number
  readonly end: number

  constructor(bytes: Uint8Array, offset = 0, end: number = bytes.length) {
    this.bytes = asBuffer(bytes)
    this.offset = offset
    this.end = end
  }

  get remaining(): number {
    return this.end - this.offset
  }

  u8(): number | undefined {
    return this.remaining < 1 ? undefined : this.bytes[this.offset++]
  }

  u16(): number | undefined {
    if (this.remaining < 2) return undefined
    this.offset += 2
    return this.bytes.readUInt16LE(this.offset - 2)
  }

  u32(): number | undefined {
    if (this.remaining < 4) return undefined
    this.offset += 4
    return this.bytes.readUInt32LE(this.offset - 4)
  }

  u64(): number | undefined {
    if (this.remaining < 8) return undefined
    const high = this.bytes.readUInt32LE(this.offset + 4)
    if (high > 0x1fffff) return undefined
    this.offset += 8
    return high * 0x100000000 + this.bytes.readUInt32LE(this.offset - 8)
  }

  /** Unsigned LEB128 as in multiformats/unsigned-varint and protobuf, at most 10 bytes, at most 2^53 - 1. */
  varint(): number | undefined {
    let value = 0
    let scale = 1
    for (let i = this.offset; i < this.end && i - this.offset < MAX_VARINT_BYTES; i++) {
      const byte = this.bytes[i]!
      value += (byte & 0x7f) * scale
      if (value > Number.MAX_SAFE_INTEGER) return undefined
      if (byte < 0x80) {
        this.offset = i + 1
        return value
      }
      scale *= 128
    }
    return undefined
  }

  /** A view, not a copy. */
  take(length: number): Buffer | undefined {
    if (length < 0 || this.remaining < length) return undefined
    this.offset += length
    return this.bytes.subarray(this.offset - length, this.offset)
  }

  /** A view of a byte string preceded by its length as a varint. */
  takeSized(): Buffer | undefined {
    const start = this.offset
    const length = this.varint()
    const view = length === undefined ? undefined : this.take(length)
    if (view === undefined) this.offset = start
    return view
  }
}

export class ByteWriter {
  #buffer: Buffer
  #length = 0

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity)
  }

  get length(): number {
    return this.#length
  }

  #grow(extra: number): number {
    const at = this.#length
    const needed = at + extra
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
      this.#buffer.copy(larger, 0, 0, at)
      this.#buffer = larger
    }
    this.#length = needed
    return at
  }

  u8(value: number): this {
    const at = this.#grow(1)
    this.#buffer[at] = value
    return this
  }

  u16(value: number): this {
    const at = this.#grow(2)
    this.#buffer.writeUInt16LE(value, at)
    return this
  }

  u32(value: number): this {
    const at = this.#grow(4)
    this.#buffer.writeUInt32LE(value, at)
    return this
  }

  u64(value: number): this {
    const at = this.#grow(8)
    this.#buffer.writeUInt32LE(value % 0x100000000, at)
    this.#buffer.writeUInt32LE(Math.floor(value / 0x100000000), at + 4)
    return this
  }

  varint(value: number): this {
    let at = this.#grow(varintLength(value))
    let rest = value
    while (rest >= 0x80) {
      this.#buffer[at++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.#buffer[at] = rest
    return this
  }

  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length)
    this.#buffer.set(value, at)
    return this
  }

  sized(value: Uint8Array): this {
    return this.varint(value.length).bytes(value)
  }

  zeros(count: number): this {
    const at = this.#grow(count)
    this.#buffer.fill(0, at, at + count)
    return this
  }

  /** What was written so far: a view that the next write may overwrite or outgrow. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  /** A copy of what was written so far. */
  finish(): Buffer {
    return Buffer.from(this.view())
  }

  reset(): void {
    this.#length = 0
  }
}

/** Bytes that `value` takes as an unsigned LEB128 varint; `value` is an integer from 0 to 2^53 - 1. */
export function varintLength(value: number): number {
  let length = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 128)) length++
  return length
}

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Bytes as text, without loss: valid UTF-8 as it is, each byte that is not part of a valid sequence as
 * U+DC80 to U+DCFF (Python's surrogateescape, PEP 383).
 */
export function bytesToText(bytes: Uint8Array): string {
  const buffer = asBuffer(bytes)
  const text = buffer.toString('utf8')
  if (!text.includes('\ufffd') || Buffer.from(text, 'utf8').equals(buffer)) return text
  let out = ''
  for (let i = 0; i < buffer.length; ) {
    const length = validSequence(buffer, i)
    out += length === 0 ? String.fromCharCode(0xdc00 + buffer[i]!) : buffer.toString('utf8', i, i + length)
    i += length || 1
  }
  return out
}

/** The reverse of {@link bytesToText}. */
export function textToBytes(text: string): Buffer {
  if (!/[\udc80-\udcff]/.test(text)) return Buffer.from(text, 'utf8')
  const parts: Buffer[] = []
  for (const character of text) {
    const code = character.charCodeAt(0)
    const escaped = character.length === 1 && code >= 0xdc80 && code <= 0xdcff
    parts.push(escaped ? Buffer.from([code - 0xdc00]) : Buffer.from(character, 'utf8'))
  }
  return Buffer.concat(parts)
}

/** Length of the well-formed UTF-8 sequence at `at` (Unicode 15, table 3-7), or 0. */
function validSequence(bytes: Buffer, at: number): number {
  const first = bytes[at]!
  if (first < 0x80) return 1
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
  if (first < 0xc2 || first > 0xf4 || at + length > bytes.length) return 0
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
  if (bytes[at + 1]! < low || bytes[at + 1]! > high) return 0
  for (let i = at + 2; i < at + length; i++) if ((bytes[i]! & 0xc0) !== 0x80) return 0
  return length
}
