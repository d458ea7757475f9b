import { MAX_BLOCK_BYTES } from '../blocks/types.ts'
import { ByteReader, ByteWriter, varintLength } from '../bytes.ts'
import { type CidBytes, codec, multihashCode, readCid } from '../cid.ts'
import { FormatError } from '../errors.ts'

/**
 * dag-pb nodes with UnixFS data, in both directions. Names are bytes, because file names are; a coder that makes
 * strings of them loses those that are not UTF-8.
 *
 *     PBNode = repeated PBLink Links = 2, then bytes Data = 1        https://ipld.io/specs/codecs/dag-pb/spec/
 *     PBLink = bytes Hash = 1, string Name = 2, uint64 Tsize = 3
 *     Data   = enum Type = 1, bytes Data = 2, uint64 filesize = 3, repeated uint64 blocksizes = 4 (not packed),
 *              uint64 hashType = 5, uint64 fanout = 6, uint32 mode = 7, mtime = 8   https://specs.ipfs.tech/unixfs/
 *
 * Encoding gives the bytes that Kubo gives: every link has a Name and a Tsize, fields come in ascending order.
 */

/** In the order of the format's numbers. */
const unixFsTypes = ['raw', 'directory', 'file', 'metadata', 'symlink', 'hamt-shard'] as const
export type UnixFsType = (typeof unixFsTypes)[number]

/** multicodec code of murmur3-x64-64, the only hash that UnixFS shards use. */
export const MURMUR3_CODE = 0x22

/** More links than fit a block with real CIDs; bounds what a hostile block of tiny links costs. */
const MAX_LINKS = 65_536

export interface PbLink {
  /** Well-formed. A view. */
  cid: Buffer
  /** A view. */
  name: Buffer | undefined
  tsize: number | undefined
}

export interface UnixFsData {
  type: UnixFsType
  /** A view. */
  data: Buffer | undefined
  /** Where {@link data} starts in the block, in bytes. */
  dataStart: number
  fileSize: number | undefined
  /** Content bytes below each link. For files and raw nodes there are as many as links. */
  blockSizes: readonly number[]
  hashType: number | undefined
  fanout: number | undefined
  /** Its low 12 bits: the others mean nothing. */
  mode: number | undefined
}

export interface PbNode {
  links: readonly PbLink[]
  /** Undefined for a dag-pb node without a Data field. */
  data: UnixFsData | undefined
}

export interface Link {
  cid: CidBytes
  name: Uint8Array
  /** Bytes of the blocks below, as Kubo counts them: shared ones as often as they are linked. */
  tsize: number
}

/** Bytes that {@link writeLink} takes for such a link. */
export function linkLength(cidLength: number, nameLength: number, tsize: number): number {
  const body = linkBodyLength(cidLength, nameLength, tsize)
  return 1 + varintLength(body) + body
}

function linkBodyLength(cidLength: number, nameLength: number, tsize: number): number {
  return 3 + varintLength(cidLength) + cidLength + varintLength(nameLength) + nameLength + varintLength(tsize)
}

/** Appends one link of a node. */
export function writeLink(out: ByteWriter, cid: CidBytes, name: Uint8Array, tsize: number): void {
  out.u8(0x12).varint(linkBodyLength(cid.length, name.length, tsize))
  out.u8(0x0a).sized(cid).u8(0x12).sized(name).u8(0x18).varint(tsize)
}

/**
 * Appends what follows the links of a file's node.
 * @param blockSizes the encoded field 4, one value per link ({@link writeBlockSize})
 */
export function writeFileData(
  out: ByteWriter,
  fileSize: number,
  blockSizes: Uint8Array,
  mode: number | undefined,
): void {
  const length = 3 + varintLength(fileSize) + blockSizes.length + (mode === undefined ? 0 : 1 + varintLength(mode))
  out.u8(0x0a).varint(length).u8(0x08).u8(2).u8(0x18).varint(fileSize).bytes(blockSizes)
  if (mode !== undefined) out.u8(0x38).varint(mode)
}

export function writeBlockSize(out: ByteWriter, size: number): void {
  out.u8(0x20).varint(size)
}

/** A file's node over its parts: `size` content bytes below each link. */
export function encodeFileNode(node: {
  links: readonly { cid: CidBytes; size: number; tsize: number }[]
  mode?: number
}): Buffer {
  const out = new ByteWriter(64 + node.links.length * 48)
  const sizes = new ByteWriter(node.links.length * 4 + 1)
  let fileSize = 0
  for (const { cid, size, tsize } of node.links) {
    writeLink(out, cid, NO_NAME, tsize)
    writeBlockSize(sizes, size)
    fileSize += size
  }
  writeFileData(out, fileSize, sizes.view(), node.mode)
  return out.finish()
}

const NO_NAME = new Uint8Array(0)
const DIRECTORY_DATA = Buffer.from([0x0a, 2, 0x08, 1])

/** A flat directory; the links must be sorted bytewise by name. */
export function encodeDirectoryNode(links: readonly Link[]): Buffer {
  const out = new ByteWriter(directoryNodeLength(links))
  for (const { cid, name, tsize } of links) writeLink(out, cid, name, tsize)
  return out.bytes(DIRECTORY_DATA).finish()
}

/** Bytes that {@link encodeDirectoryNode} gives for these links. */
export function directoryNodeLength(links: readonly Link[]): number {
  let length = DIRECTORY_DATA.length
  for (const { cid, name, tsize } of links) length += linkLength(cid.length, name.length, tsize)
  return length
}

export function encodeSymlinkNode(target: Uint8Array): Buffer {
  const length = 3 + varintLength(target.length) + target.length
  const out = new ByteWriter(length + 5)
  return out.u8(0x0a).varint(length).u8(0x08).u8(4).u8(0x12).sized(target).finish()
}

/**
 * One shard of a directory. A link's name is its bucket as upper-case hex, then the entry's name, if it is one.
 * @param bitfield which buckets are taken: bucket 0 is the lowest bit of the last byte, no leading zero bytes
 */
export function encodeShardNode(links: readonly Link[], bitfield: Uint8Array, fanout: number): Buffer {
  const out = new ByteWriter(128 + links.length * 80)
  for (const { cid, name, tsize } of links) writeLink(out, cid, name, tsize)
  const length = 2 + 1 + varintLength(bitfield.length) + bitfield.length + 2 + 1 + varintLength(fanout)
  out.u8(0x0a).varint(length).u8(0x08).u8(5).u8(0x12).sized(bitfield)
  return out.u8(0x28).u8(MURMUR3_CODE).u8(0x30).varint(fanout).finish()
}

/**
 * Reads a dag-pb node. What it holds are views of `bytes`. Accepts what Kubo accepts and what is of use here: Data
 * before or after the links, blocksizes packed or not, unknown UnixFS fields, varints longer than need be.
 * @throws FormatError on anything else, also on numbers of 2^53 and more; no other error, whatever the bytes are
 */
export function decodeNode(bytes: Uint8Array): PbNode {
  if (bytes.length > MAX_BLOCK_BYTES) throw new FormatError(`node of ${bytes.length} bytes`)
  const reader = new ByteReader(bytes)
  const links: PbLink[] = []
  let data: Buffer | undefined
  let linksEnded = false
  while (reader.remaining > 0) {
    const tag = reader.varint()
    const length = tag === 0x0a || tag === 0x12 ? reader.varint() : undefined
    if (length === undefined || length > reader.remaining) {
      throw new FormatError(`malformed dag-pb node at byte ${reader.offset}`)
    }
    if (tag === 0x0a) {
      if (data !== undefined) throw new FormatError('dag-pb node with two Data fields')
      data = reader.take(length)!
      linksEnded = links.length > 0
    } else {
      if (linksEnded) throw new FormatError('dag-pb node with links on both sides of its data')
      if (links.length === MAX_LINKS) throw new FormatError(`dag-pb node of more than ${MAX_LINKS} links`)
      links.push(decodeLink(new ByteReader(reader.bytes, reader.offset, reader.offset + length)))
      reader.offset += length
    }
  }
  return { links, data: data === undefined ? undefined : decodeData(data, links.length, reader.bytes) }
}

function decodeLink(reader: ByteReader): PbLink {
  let cid: Buffer | undefined
  let name: Buffer | undefined
  let tsize: number | undefined
  // A field may come once, and only after those of lower number.
  let last = 0
  while (reader.remaining > 0) {
    const tag = reader.varint()
    const field = tag === 0x0a ? 1 : tag === 0x12 ? 2 : tag === 0x18 ? 3 : 0
    if (field <= last) throw new FormatError('malformed or misplaced field in a dag-pb link')
    last = field
    if (field === 1) cid = reader.takeSized()
    else if (field === 2) name = reader.takeSized()
    else tsize = reader.varint()
    if ((field === 1 ? cid : field === 2 ? name : tsize) === undefined) {
      throw new FormatError('dag-pb link cut short')
    }
  }
  if (cid === undefined || !isCid(cid)) throw new FormatError('dag-pb link without a valid CID')
  return { cid, name, tsize }
}

/** Most links have a CID of one form, for which taking it apart would be most of the work of decoding. */
function isCid(bytes: Buffer): boolean {
  const usual = bytes.length === 36 && bytes[0] === 1 && bytes[2] === multihashCode.sha256 && bytes[3] === 32
  return (usual && (bytes[1] === codec.raw || bytes[1] === codec.dagPb)) || readCid(bytes) !== undefined
}

function decodeData(bytes: Buffer, linkCount: number, block: Buffer): UnixFsData {
  const reader = new ByteReader(bytes)
  const blockSizes: number[] = []
  let type: number | undefined
  let data: Buffer | undefined
  let fileSize: number | undefined
  let hashType: number | undefined
  let fanout: number | undefined
  let mode: number | undefined
  while (reader.remaining > 0) {
    const tag = reader.varint() ?? 0
    // Of a field that comes twice the last one counts, as everywhere in protobuf.
    if (tag === 0x08) type = numberField(reader)
    else if (tag === 0x12) data = bytesField(reader)
    else if (tag === 0x18) fileSize = numberField(reader)
    else if (tag === 0x20) blockSizes.push(numberField(reader))
    else if (tag === 0x22) readPacked(bytesField(reader), blockSizes)
    else if (tag === 0x28) hashType = numberField(reader)
    else if (tag === 0x30) fanout = numberField(reader)
    else if (tag === 0x38) mode = numberField(reader)
    else if (tag === 0x42) bytesField(reader)
    else skipUnknown(reader, tag)
  }
  const typeName = type === undefined ? undefined : unixFsTypes[type]
  if (typeName === undefined) throw new FormatError(`UnixFS node of ${type === undefined ? 'no' : 'unknown'} type`)
  if (mode !== undefined && mode > 0xffffffff) throw new FormatError('UnixFS mode over 32 bits')
  if (typeName === 'file' || typeName === 'raw') {
    if (blockSizes.length !== linkCount) {
      throw new FormatError(`UnixFS file with ${linkCount} links and ${blockSizes.length} block sizes`)
    }
    let total = data?.length ?? 0
    for (const size of blockSizes) total += size
    if (!Number.isSafeInteger(total) || (fileSize !== undefined && fileSize !== total)) {
      throw new FormatError('UnixFS file whose size is not that of its parts')
    }
  }
  const low = mode === undefined ? undefined : mode & 0o7777
  const dataStart = data === undefined ? 0 : data.byteOffset - block.byteOffset
  return { type: typeName, data, dataStart, fileSize, blockSizes, hashType, fanout, mode: low }
}

function numberField(reader: ByteReader): number {
  const value = reader.varint()
  if (value === undefined) throw new FormatError('malformed number in UnixFS data')
  return value
}

function bytesField(reader: ByteReader): Buffer {
  const value = reader.takeSized()
  if (value === undefined) throw new FormatError('UnixFS data cut short')
  return value
}

function readPacked(bytes: Buffer, into: number[]): void {
  const reader = new ByteReader(bytes)
  while (reader.remaining > 0) into.push(numberField(reader))
}

/** Skips a field of a later version of UnixFS. One of ours with another wire type is no such field. */
function skipUnknown(reader: ByteReader, tag: number): void {
  const wireType = tag % 8
  const field = Math.floor(tag / 8)
  const skipped =
    field <= 8 || field > 0x1fffffff
      ? undefined
      : wireType === 0
        ? reader.varint()
        : wireType === 1
          ? reader.take(8)
          : wireType === 2
            ? reader.takeSized()
            : wireType === 5
              ? reader.take(4)
              : undefined
  if (skipped === undefined) throw new FormatError(`malformed UnixFS data at byte ${reader.offset}`)
}
