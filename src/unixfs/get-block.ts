import { type CidBytes, cidText, codec, MAX_IDENTITY_BYTES, multihashCode, readCid } from '../cid.ts'
import { FormatError, MissingBlockError } from '../errors.ts'
import { decodeNode, type PbNode } from './node.ts'

/**
 * How a DAG is read: the block's bytes, which the callee has verified, or `undefined` where it is not here.
 * Never asked for an identity CID, which holds its block itself.
 */
export type GetBlock = (cid: CidBytes) => Uint8Array | undefined

/**
 * The bytes of a block.
 * @throws MissingBlockError naming the CID
 */
export function loadBlock(get: GetBlock, cid: CidBytes): Uint8Array {
  const parts = readCid(cid)
  if (parts === undefined) throw new FormatError(`malformed CID ${Buffer.from(cid).toString('hex')}`)
  if (parts.multihashCode === multihashCode.identity) {
    if (parts.digest.length > MAX_IDENTITY_BYTES) {
      throw new FormatError(`identity CID of ${parts.digest.length} bytes, more than ${MAX_IDENTITY_BYTES}`)
    }
    return parts.digest
  }
  const block = get(cid)
  if (block === undefined) throw new MissingBlockError(`block ${cidText(cid)} is missing`)
  return block
}

/** True for a raw block, false for a dag-pb node; FormatError for any other codec. */
export function isRaw(cid: CidBytes): boolean {
  // Version and codec take one byte each in nearly every CID.
  const code = cid[0] === 1 && cid[1]! < 0x80 ? cid[1] : readCid(cid)?.codec
  if (code === codec.raw) return true
  if (code === codec.dagPb) return false
  throw new FormatError(`${describe(cid)} is neither a raw block nor a dag-pb node`)
}

/**
 * Loads and decodes a dag-pb node.
 * @throws MissingBlockError, FormatError; both name the CID
 */
export function loadNode(get: GetBlock, cid: CidBytes): PbNode {
  if (isRaw(cid)) throw new FormatError(`${describe(cid)} is a raw block where a dag-pb node must be`)
  const block = loadBlock(get, cid)
  try {
    return decodeNode(block)
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw new FormatError(`block ${cidText(cid)}: ${cause.message}`, { cause })
  }
}

/** A CID for a message, also where it is malformed. */
export function describe(cid: CidBytes): string {
  return readCid(cid) === undefined ? `malformed CID ${Buffer.from(cid).toString('hex')}` : cidText(cid)
}
