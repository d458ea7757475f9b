import { ByteReader, type ByteWriter, varintLength } from '../bytes.ts'
import { type CidBytes, codec, readCid } from '../cid.ts'
import type { Leaf } from '../unixfs/types.ts'
import { MAX_PAGE_BYTES } from './nodes.ts'
import { isCid } from './record.ts'
import type { LeafSlice } from './types.ts'

/**
 * Page of a file's leaf table, little-endian, without its trailer:
 *
 *     0   u8   format, 1
 *     1   u32  number of pages
 *     5   u32  number of leaves in this page, at least 1
 *     9   u64  offset in the file of the first of them
 *     17  leaves: varint length, varint start in the block, sized CID
 *
 * A file that is itself one raw block has no table.
 */
const FORMAT = 1
const HEADER_BYTES = 17

/** True where the file is a raw block, and thus its own only leaf. */
export function isRawFile(cid: CidBytes): boolean {
  // Version 1 and a codec of one byte, as nearly all CIDs start.
  if (cid[0] === 1 && cid[1]! < 128) return cid[1] === codec.raw
  return readCid(cid)?.codec === codec.raw
}

/** The numbers of the leaves at which the pages of a table begin. */
export function splitLeaves(leaves: readonly Leaf[]): number[] {
  const starts: number[] = []
  let used = MAX_PAGE_BYTES
  for (let i = 0; i < leaves.length; i++) {
    const bytes = leafBytes(leaves[i]!)
    if (used + bytes > MAX_PAGE_BYTES) {
      starts.push(i)
      used = HEADER_BYTES
    }
    used += bytes
  }
  return starts
}

function leafBytes({ length, start, cid }: Leaf): number {
  return varintLength(length) + varintLength(start) + varintLength(cid.length) + cid.length
}

/** One page: leaves `from` up to `to`, of which the first lies at `offset` in the file. */
export function encodeLeaves(
  writer: ByteWriter,
  leaves: readonly Leaf[],
  from: number,
  to: number,
  pages: number,
  offset: number,
): void {
  writer
    .u8(FORMAT)
    .u32(pages)
    .u32(to - from)
    .u64(offset)
  for (let i = from; i < to; i++) {
    const { length, start, cid } = leaves[i]!
    writer.varint(length).varint(start).sized(cid)
  }
}

export interface LeafPage {
  /** Pages that the table has. */
  pages: number
  /** Where the page's first leaf begins in the file, and its last one ends. */
  offset: number
  end: number
  leaves: LeafSlice[]
}

/** Undefined where the bytes are no page. The result holds copies. */
export function decodeLeaves(bytes: Uint8Array): LeafPage | undefined {
  const reader = new ByteReader(Buffer.from(bytes))
  const format = reader.u8()
  const pages = reader.u32()
  const count = reader.u32()
  const offset = reader.u64()
  if (format !== FORMAT || !pages || !count || offset === undefined || count > reader.remaining) return undefined
  const leaves: LeafSlice[] = []
  let end = offset
  for (let i = 0; i < count; i++) {
    const length = reader.varint()
    const start = reader.varint()
    const cid = reader.takeSized()
    if (length === undefined || start === undefined || cid === undefined || !isCid(cid)) return undefined
    leaves.push({ offset: end, length, cid, start })
    end += length
    if (!Number.isSafeInteger(end)) return undefined
  }
  return reader.remaining === 0 ? { pages, offset, end, leaves } : undefined
}

/** Appends to `slices` what of the page lies in [from, to). */
export function coverRange(page: LeafPage, from: number, to: number, slices: LeafSlice[]): void {
  const { leaves } = page
  let low = 0
  let high = leaves.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (leaves[middle]!.offset <= from) low = middle
    else high = middle - 1
  }
  for (let i = low; i < leaves.length; i++) {
    const leaf = leaves[i]!
    if (leaf.offset >= to) break
    const slice = clip(leaf, from, to)
    if (slice !== undefined) slices.push(slice)
  }
}

/** The part of a leaf that lies in [from, to), if any. */
export function clip(leaf: LeafSlice, from: number, to: number): LeafSlice | undefined {
  const first = Math.max(leaf.offset, from)
  const last = Math.min(leaf.offset + leaf.length, to)
  if (first >= last) return undefined
  return { offset: first, length: last - first, cid: leaf.cid, start: leaf.start + (first - leaf.offset) }
}
