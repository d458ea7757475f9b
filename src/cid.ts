import { hash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { ByteReader } from './bytes.ts'
import { FormatError, IntegrityError } from './errors.ts'

/**
 * CIDs inside the program are their binary form (CIDv1: version, codec, multihash), because that is what blocks,
 * links and index keys hold; text appears only at the edges. https://github.com/multiformats/cid
 */
export type CidBytes = Uint8Array

/** multicodec codes, https://github.com/multiformats/multicodec/blob/master/table.csv */
export const codec = { raw: 0x55, dagPb: 0x70 } as const
export const multihashCode = { identity: 0x00, sha256: 0x12 } as const

/** Longest identity digest that is followed (the limit Kubo enforces). */
export const MAX_IDENTITY_BYTES = 128

const SHA256_MULTIHASH_PREFIX = Buffer.from([multihashCode.sha256, 32])
const RAW_SHA256_PREFIX = Buffer.from([1, codec.raw, multihashCode.sha256, 32])
const DAG_PB_SHA256_PREFIX = Buffer.from([1, codec.dagPb, multihashCode.sha256, 32])

/** sha2-256 of the bytes: 32 bytes. */
export function sha256(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer')
}

/** CIDv1, raw codec, sha2-256: 36 bytes. */
export function rawCid(digest: Uint8Array): Buffer {
  return Buffer.concat([RAW_SHA256_PREFIX, digest])
}

/** CIDv1, dag-pb codec, sha2-256: 36 bytes. */
export function dagPbCid(digest: Uint8Array): Buffer {
  return Buffer.concat([DAG_PB_SHA256_PREFIX, digest])
}

/** CIDv1, raw codec, identity multihash; at most {@link MAX_IDENTITY_BYTES} bytes. */
export function identityCid(bytes: Uint8Array): Buffer {
  if (bytes.length > MAX_IDENTITY_BYTES) throw new RangeError(`identity CID of ${bytes.length} bytes`)
  // 128 is the one length that takes a second varint byte.
  const head = bytes.length < 128 ? [1, codec.raw, 0, bytes.length] : [1, codec.raw, 0, 0x80, 0x01]
  return Buffer.concat([Buffer.from(head), bytes])
}

/** The whole multihash of a sha2-256 digest: 34 bytes. */
export function sha256Multihash(digest: Uint8Array): Buffer {
  return Buffer.concat([SHA256_MULTIHASH_PREFIX, digest])
}

export interface CidParts {
  version: 0 | 1
  codec: number
  /** The whole multihash: code, length, digest. A view. */
  multihash: Buffer
  multihashCode: number
  /** A view. */
  digest: Buffer
}

/** Takes a binary CID apart; `undefined` where it is not one, or has bytes left over. */
export function readCid(bytes: Uint8Array): CidParts | undefined {
  const reader = new ByteReader(bytes)
  if (bytes.length === 34 && bytes[0] === multihashCode.sha256 && bytes[1] === 32) {
    return multihashParts(reader, 0, codec.dagPb)
  }
  if (reader.varint() !== 1) return undefined
  const code = reader.varint()
  return code === undefined ? undefined : multihashParts(reader, 1, code)
}

function multihashParts(reader: ByteReader, version: 0 | 1, code: number): CidParts | undefined {
  const start = reader.offset
  const hashCode = reader.varint()
  const digest = hashCode === undefined ? undefined : reader.takeSized()
  if (hashCode === undefined || digest === undefined || reader.remaining !== 0) return undefined
  return { version, codec: code, multihash: reader.bytes.subarray(start), multihashCode: hashCode, digest }
}

/** A binary CID as text: base32 for version 1, base58btc for version 0. */
export function cidText(cid: CidBytes): string {
  return CID.decode(cid).toString()
}

/** Parses a CID's text (any multibase that multiformats' default decoder knows). */
export function parseCid(text: string): Buffer {
  try {
    return Buffer.from(CID.parse(text).bytes)
  } catch (cause) {
    throw new FormatError(`${JSON.stringify(text)} is not a CID`, { cause })
  }
}

/** Throws unless the bytes hash to the CID. Only sha2-256 and identity are known here. */
export function verifyBlock(cid: CidBytes, bytes: Uint8Array): void {
  const parts = readCid(cid)
  if (parts === undefined) throw new FormatError(`malformed CID ${Buffer.from(cid).toString('hex')}`)
  const same =
    parts.multihashCode === multihashCode.identity
      ? parts.digest.equals(bytes)
      : parts.multihashCode === multihashCode.sha256 && parts.digest.equals(sha256(bytes))
  if (!same) throw new IntegrityError(`block ${cidText(cid)} does not have the bytes its CID says`)
}
