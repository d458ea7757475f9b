import type { BlockLocation } from '../blocks/types.ts'
import { ByteReader, ByteWriter } from '../bytes.ts'
import type { NodeId, PackOwner } from './types.ts'

/**
 * The small values of the index, little-endian, each without its trailer. Decoders give undefined for bytes that are
 * none.
 */

const HASH_BYTES = 32

/** Bytes of a block that one checksum covers, as in blocks/types. */
const CHECKSUM_PIECE = 65536

export function encodeNumber(value: number): Buffer {
  return new ByteWriter(8).u64(value).finish()
}

export function decodeNumber(bytes: Uint8Array): number | undefined {
  return bytes.length === 8 ? new ByteReader(bytes).u64() : undefined
}

/** varint pack, varint offset, varint length, then u32 checksums, one for each piece; none for pack 0, which is Kubo. */
export function encodeLocation({ pack, offset, length, checksums }: BlockLocation): Buffer {
  const writer = new ByteWriter(16 + 4 * checksums.length).varint(pack).varint(offset).varint(length)
  for (const checksum of checksums) writer.u32(checksum)
  return writer.finish()
}

export function decodeLocation(bytes: Uint8Array): BlockLocation | undefined {
  const reader = new ByteReader(bytes)
  const pack = reader.varint()
  const offset = reader.varint()
  const length = reader.varint()
  if (pack === undefined || offset === undefined || length === undefined) return undefined
  const pieces = pack === 0 ? 0 : Math.ceil(length / CHECKSUM_PIECE)
  if (reader.remaining !== 4 * pieces) return undefined
  const checksums = new Uint32Array(pieces)
  for (let i = 0; i < pieces; i++) checksums[i] = reader.u32()!
  return { pack, offset, length, checksums }
}

/** What is remembered of a path that was forgotten, so that the same tree gets the same node ids again. */
export interface Tombstone {
  narHash: Uint8Array
  firstNode: NodeId
  entries: number
  /** True once the ids were given out again: from then on nobody may remove their rows on the tombstone's behalf. */
  claimed: boolean
}

/** narHash, u64 first node id, u64 entries, u8 claimed. */
export function encodeTombstone({ narHash, firstNode, entries, claimed }: Tombstone): Buffer {
  return new ByteWriter(49)
    .bytes(narHash)
    .u64(firstNode)
    .u64(entries)
    .u8(claimed ? 1 : 0)
    .finish()
}

export function decodeTombstone(bytes: Uint8Array): Tombstone | undefined {
  const reader = new ByteReader(bytes)
  const narHash = reader.take(HASH_BYTES)
  const firstNode = reader.u64()
  const entries = reader.u64()
  const claimed = reader.u8()
  if (narHash === undefined || firstNode === undefined || !entries || claimed === undefined || claimed > 1) {
    return undefined
  }
  if (reader.remaining !== 0) return undefined
  return { narHash: Buffer.from(narHash), firstNode: firstNode as NodeId, entries, claimed: claimed === 1 }
}

/** Nothing for a pin that stays, u64 Unix seconds for one that expires. */
export function encodeExpiry(expires: number | undefined): Buffer {
  return expires === undefined ? Buffer.alloc(0) : encodeNumber(expires)
}

export function decodeExpiry(bytes: Uint8Array): { expires: number | undefined } | undefined {
  if (bytes.length === 0) return { expires: undefined }
  const expires = decodeNumber(bytes)
  return expires === undefined ? undefined : { expires }
}

/** u32 process id, sized start time, sized boot id. */
export function encodeOwner({ pid, startTime, bootId }: PackOwner): Buffer {
  return new ByteWriter(64).u32(pid).sized(Buffer.from(startTime)).sized(Buffer.from(bootId)).finish()
}

export function decodeOwner(bytes: Uint8Array): PackOwner | undefined {
  const reader = new ByteReader(bytes)
  const pid = reader.u32()
  const startTime = reader.takeSized()
  const bootId = reader.takeSized()
  if (pid === undefined || startTime === undefined || bootId === undefined || reader.remaining !== 0) return undefined
  return { pid, startTime: startTime.toString(), bootId: bootId.toString() }
}
