import { ByteWriter, varintLength } from '../bytes.ts'
import { rawCid } from '../cid.ts'

/**
 * CARv1 (https://ipld.io/specs/transport/car/carv1/): varint length and dag-cbor header, then for each block varint
 * length of CID and data, CID, data.
 */

/** Bytes that a raw CIDv1 with sha2-256 takes. */
const CID_BYTES = 36

/** dag-cbor of `{roots: [<CID>], version: 1}` around the CID: map(2), "roots", array(1), tag(42), 37 bytes, 0. */
const HEADER_BEFORE = Buffer.concat([
  Buffer.from([0xa2, 0x65]),
  Buffer.from('roots'),
  Buffer.from([0x81, 0xd8, 0x2a, 0x58, CID_BYTES + 1, 0]),
])
const HEADER_AFTER = Buffer.concat([Buffer.from([0x67]), Buffer.from('version'), Buffer.from([1])])

export interface CarBlock {
  /** sha2-256, 32 bytes. */
  digest: Uint8Array
  bytes: Uint8Array
}

/**
 * A CAR that moves blocks and says nothing of their structure: each is named by a raw CID, whatever its codec, as
 * block stores keep them by multihash. The first block stands for the root that a header must have.
 */
export function encodeCar(blocks: readonly CarBlock[]): Buffer {
  const total = blocks.reduce(
    (sum, { bytes }) => sum + bytes.length + CID_BYTES + varintLength(CID_BYTES + bytes.length),
    128,
  )
  const out = new ByteWriter(total)
  out.varint(HEADER_BEFORE.length + CID_BYTES + HEADER_AFTER.length)
  out.bytes(HEADER_BEFORE).bytes(rawCid(blocks[0]!.digest)).bytes(HEADER_AFTER)
  for (const { digest, bytes } of blocks)
    out
      .varint(CID_BYTES + bytes.length)
      .bytes(rawCid(digest))
      .bytes(bytes)
  return out.view()
}
