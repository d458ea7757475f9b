import { fstatSync, readSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { ByteReader, ByteWriter } from '../bytes.ts'
import { systemCode } from '../errors.ts'
import { type BlockRow, checksumCount, MAX_BLOCK_BYTES } from './types.ts'

/**
 * Pack files, `<number>.pack`. Everything is little-endian; `sized` is a varint length and the bytes.
 *
 * Header, 32 bytes:
 *     0   8    magic "nixipfsP"
 *     8   u32  version, 1
 *     12  u32  epoch of the state's node ids
 *     16  u64  number of the pack
 *     24  u32  0
 *     28  u32  CRC-32 of bytes 0 to 27
 *
 * Then batches, each at most 16 MiB in all, one after the other without gaps:
 *     0   4    magic "NIMb"
 *     4   u32  number of rows
 *     8   u32  length of the table
 *     12  u32  length of the data
 *     16  u32  CRC-32 of bytes 0 to 15 and the table
 *     20  table
 *         data: the blocks, in the order of their rows, without gaps
 *
 * A row of the table:
 *     u8 1  a block: sized multihash, u32 length, u32 CRC-32 of each 64 KiB of the block counted from its start
 *     u8 2  a copy of a path record: sized bytes
 *
 * A pack ends with its first batch that is not valid: what follows was never committed.
 */
export const PACK_VERSION = 1
export const PACK_HEADER_BYTES = 32
export const BATCH_HEADER_BYTES = 20
export const MAX_BATCH_BYTES = 16 * 1024 * 1024

const PACK_MAGIC = Buffer.from('nixipfsP', 'latin1')
const BATCH_MAGIC = Buffer.from('NIMb', 'latin1')
const BLOCK_ROW = 1
const RECORD_ROW = 2

const MIN_DIGEST_BYTES = 32
const MAX_DIGEST_BYTES = 128

export interface PackHeader {
  version: number
  epoch: number
  number: number
}

export interface Batch {
  /** Where the batch begins in the pack, and where the next one does. */
  offset: number
  end: number
  blocks: BlockRow[]
  /** Copies of path records. */
  records: Buffer[]
}

/** Where the batches of a pack that can be read end, and why there is no other. */
export interface PackEnd {
  end: number
  why: string
}

export function packFileName(number: number): string {
  return `${number}.pack`
}

export function encodePackHeader({ version, epoch, number }: PackHeader): Buffer {
  const writer = new ByteWriter(PACK_HEADER_BYTES).bytes(PACK_MAGIC).u32(version).u32(epoch).u64(number).u32(0)
  return writer.u32(crc32(writer.view())).finish()
}

/** Undefined where the bytes are no header. Its version may be one that this program does not know. */
export function decodePackHeader(bytes: Buffer): PackHeader | undefined {
  const reader = new ByteReader(bytes)
  if (!reader.take(PACK_MAGIC.length)?.equals(PACK_MAGIC)) return undefined
  const version = reader.u32()
  const epoch = reader.u32()
  const number = reader.u64()
  const zero = reader.u32()
  if (version === undefined || epoch === undefined || number === undefined || zero !== 0) return undefined
  const checked = bytes.subarray(0, reader.offset)
  return reader.u32() === crc32(checked) ? { version, epoch, number } : undefined
}

/** The most that a block's row takes, for a multihash of 34 bytes. */
export function blockRowBytes(length: number): number {
  return 1 + 1 + 34 + 4 + 4 * checksumCount(length)
}

export function writeBlockRow(table: ByteWriter, multihash: Uint8Array, length: number, checksums: Uint32Array): void {
  table.u8(BLOCK_ROW).sized(multihash).u32(length)
  for (const checksum of checksums) table.u32(checksum)
}

/** The most that a record's row takes. */
export function recordRowBytes(length: number): number {
  return 1 + 5 + length
}

export function writeRecordRow(table: ByteWriter, record: Uint8Array): void {
  table.u8(RECORD_ROW).sized(record)
}

export function encodeBatchHeader(rows: number, table: Buffer, dataLength: number): Buffer {
  const writer = new ByteWriter(BATCH_HEADER_BYTES).bytes(BATCH_MAGIC).u32(rows).u32(table.length).u32(dataLength)
  return writer.u32(crc32(table, crc32(writer.view()))).finish()
}

/** What the fixed part of a batch says; undefined where it is none. */
export function decodeBatchHeader(
  bytes: Buffer,
): { rows: number; tableLength: number; dataLength: number } | undefined {
  const reader = new ByteReader(bytes)
  if (!reader.take(BATCH_MAGIC.length)?.equals(BATCH_MAGIC)) return undefined
  const rows = reader.u32()
  const tableLength = reader.u32()
  const dataLength = reader.u32()
  if (rows === undefined || tableLength === undefined || dataLength === undefined || reader.remaining < 4) {
    return undefined
  }
  if (BATCH_HEADER_BYTES + tableLength + dataLength > MAX_BATCH_BYTES) return undefined
  return { rows, tableLength, dataLength }
}

/**
 * A batch from its header and table, which lie at `offset` of the pack; the blocks themselves are not looked at.
 * Undefined where the bytes are not exactly a header and a table.
 */
export function decodeBatch(bytes: Buffer, pack: number, offset: number): Batch | undefined {
  const header = decodeBatchHeader(bytes)
  if (header === undefined || bytes.length !== BATCH_HEADER_BYTES + header.tableLength) return undefined
  const table = bytes.subarray(BATCH_HEADER_BYTES)
  const checksum = crc32(table, crc32(bytes.subarray(0, BATCH_HEADER_BYTES - 4)))
  if (bytes.readUInt32LE(BATCH_HEADER_BYTES - 4) !== checksum) return undefined
  const blocks: BlockRow[] = []
  const records: Buffer[] = []
  const reader = new ByteReader(table)
  const dataStart = offset + bytes.length
  const end = dataStart + header.dataLength
  let at = dataStart
  for (let i = 0; i < header.rows; i++) {
    switch (reader.u8()) {
      case BLOCK_ROW: {
        const row = readBlockRow(reader, pack, at)
        if (row === undefined) return undefined
        blocks.push(row)
        at += row.location.length
        break
      }
      case RECORD_ROW: {
        const record = reader.takeSized()
        if (record === undefined) return undefined
        records.push(record)
        break
      }
      default:
        return undefined
    }
  }
  return reader.remaining === 0 && at === end ? { offset, end, blocks, records } : undefined
}

function readBlockRow(reader: ByteReader, pack: number, offset: number): BlockRow | undefined {
  const multihash = reader.takeSized()
  const length = reader.u32()
  if (multihash === undefined || !isMultihash(multihash) || length === undefined || length > MAX_BLOCK_BYTES) {
    return undefined
  }
  const checksums = new Uint32Array(checksumCount(length))
  for (let i = 0; i < checksums.length; i++) {
    const checksum = reader.u32()
    if (checksum === undefined) return undefined
    checksums[i] = checksum
  }
  return { multihash, location: { pack, offset, length, checksums } }
}

function isMultihash(bytes: Buffer): boolean {
  const reader = new ByteReader(bytes)
  if (reader.varint() === undefined) return false
  const length = reader.varint()
  return length === reader.remaining && length >= MIN_DIGEST_BYTES && length <= MAX_DIGEST_BYTES
}

/** The header of an open pack; undefined where it has none. */
export function readPackHeader(fd: number): PackHeader | undefined {
  const bytes = readExactly(fd, PACK_HEADER_BYTES, 0)
  return bytes && decodePackHeader(bytes)
}

/** The batches of an open pack, up to the first that is not valid. The blocks themselves are not looked at. */
export function* scanPack(fd: number, pack: number): Generator<Batch, PackEnd> {
  const size = fstatSync(fd).size
  for (let offset = PACK_HEADER_BYTES; ; ) {
    const batch = readBatch(fd, pack, offset, size)
    if (typeof batch === 'string') return { end: offset, why: batch }
    yield batch
    offset = batch.end
  }
}

/** The batch that begins at `offset`, or why there is none. */
function readBatch(fd: number, pack: number, offset: number, size: number): Batch | string {
  const cut = `the file ends at byte ${size}`
  try {
    const start = readExactly(fd, BATCH_HEADER_BYTES, offset)
    if (start === undefined) return cut
    const header = decodeBatchHeader(start)
    if (header === undefined) return `what lies at byte ${offset} is not the header of a batch`
    const bytes = readExactly(fd, BATCH_HEADER_BYTES + header.tableLength, offset)
    if (bytes === undefined) return cut
    const batch = decodeBatch(bytes, pack, offset)
    if (batch === undefined) return `header and table of the batch at byte ${offset} do not match their checksum`
    return batch.end > size ? cut : batch
  } catch (error) {
    const code = systemCode(error)
    if (code === undefined) throw error
    return `the batch at byte ${offset} cannot be read (${code})`
  }
}

/** Undefined where the file ends before. */
function readExactly(fd: number, length: number, position: number): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(length)
  for (let done = 0; done < length; ) {
    const got = readSync(fd, bytes, done, length - done, position + done)
    if (got === 0) return undefined
    done += got
  }
  return bytes
}
