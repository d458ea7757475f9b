import { crc32 } from 'node:zlib'

/**
 * Every value in the index ends with a CRC-32 (little-endian u32) over its key and what comes before, so that a value
 * that was damaged, cut short or stored under another key is never believed.
 */
export const TRAILER_BYTES = 4

/** A copy of `payload` with its trailer. */
export function seal(key: Uint8Array, payload: Uint8Array): Buffer {
  const value = Buffer.allocUnsafe(payload.length + TRAILER_BYTES)
  value.set(payload)
  sealInPlace(key, value)
  return value
}

/** Fills in the trailer, the last {@link TRAILER_BYTES} bytes of `value`. */
export function sealInPlace(key: Uint8Array, value: Buffer): void {
  const end = value.length - TRAILER_BYTES
  value.writeUInt32LE(crc32(value.subarray(0, end), crc32(key)), end)
}

/** The payload, a view of `value`; undefined where the checksum does not match. */
export function unseal(key: Uint8Array, value: Buffer): Buffer | undefined {
  const end = value.length - TRAILER_BYTES
  if (end < 0) return undefined
  const payload = value.subarray(0, end)
  return crc32(payload, crc32(key)) === value.readUInt32LE(end) ? payload : undefined
}
