import { IN_HEADER, INTERRUPT_IN } from './layouts.ts'

/**
 * A request as it was read from the device: struct fuse_in_header and a body. One view serves all requests that are
 * read into the same buffer, so that none of them costs an object.
 */
export class RequestView {
  readonly bytes: Buffer
  readonly #view: DataView
  /** Bytes of the request, header included; what lies behind them is older. */
  length = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  /** False where the bytes are no request at all. */
  set(length: number): boolean {
    this.length = length
    return length >= IN_HEADER.size && this.u32(IN_HEADER.len) === length
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true)
  }

  /** Not exact from 2^53 on, and then at least 2^53. */
  u64(at: number): number {
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 0x100000000
  }

  get opcode(): number {
    return this.u32(IN_HEADER.opcode)
  }

  get nodeid(): number {
    return this.u64(IN_HEADER.nodeid)
  }

  get bodyLength(): number {
    return this.length - IN_HEADER.size
  }

  /** A view of the text that starts at `from` in the body, up to its NUL; undefined where there is none. */
  name(from: number): Buffer | undefined {
    const start = IN_HEADER.size + from
    const end = this.bytes.indexOf(0, start)
    return end >= start && end < this.length ? this.bytes.subarray(start, end) : undefined
  }
}

export function opcodeOf(request: Buffer): number {
  return request.readUInt32LE(IN_HEADER.opcode)
}

/** What tells a request from all others that wait: its 64 bits of `unique`, of which the kernel uses bits 0 and 63. */
export function requestKey(request: Buffer): string {
  return request.toString('latin1', IN_HEADER.unique, IN_HEADER.unique + 8)
}

/** The key of the request that an INTERRUPT is about; undefined where it is malformed. */
export function interruptedKey(request: Buffer): string | undefined {
  const at = IN_HEADER.size + INTERRUPT_IN.unique
  return request.length < IN_HEADER.size + INTERRUPT_IN.size ? undefined : request.toString('latin1', at, at + 8)
}
