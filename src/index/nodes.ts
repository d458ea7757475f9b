import { ByteReader, ByteWriter, varintLength } from '../bytes.ts'
import type { NodeKind } from '../nix/tree.ts'
import type { ChildEntry } from '../unixfs/types.ts'
import { TRAILER_BYTES } from './checksum.ts'
import { EXECUTABLE_FLAG, isCid, KIND_MASK, kinds } from './record.ts'
import type { NodeEntry, NodeId, NodeRecord } from './types.ts'

/**
 * Rows of the `nodes` database, little-endian, each without its trailer.
 *
 * Node record: u8 kind (bits 0-1: 0 directory, 1 file, 2 symlink; bit 2 executable), then
 *     file       varint size, CID
 *     symlink    target
 *     directory  varint number of entries, CID
 *
 * Page of a directory, entries sorted bytewise by name over all pages; an empty directory has none:
 *     0  u8   format, 1
 *     1  u32  number of pages
 *     5  u16  number of entries in this page
 *     7  u16  for each entry, where it starts in the page
 *        entries: u8 length of the name, name, u8 kind as above, varint (node id - id of the directory), varint size
 *
 * Page index, for a directory of more than one page:
 *     0  u8   format, 1
 *     1  u32  number of pages
 *     5  u32 u32  for each page, the ordinal of its first entry and where that entry's name starts in this row
 *        names: u8 length, bytes
 *
 * Ids are relative, so rows do not depend on where a tree's ids begin.
 */
const FORMAT = 1
const PAGE_HEADER_BYTES = 7
const INDEX_HEADER_BYTES = 5
const INDEX_ENTRY_BYTES = 8

/**
 * Longest value that LMDB keeps in four of its 4096-byte pages: the first has a header of 24 bytes in the build that
 * lmdb-js brings.
 */
export const MAX_VALUE_BYTES = 4 * 4096 - 24
/** Longest page of entries or leaves, without the trailer. */
export const MAX_PAGE_BYTES = MAX_VALUE_BYTES - TRAILER_BYTES

export function encodeFile(executable: boolean, size: number, cid: Uint8Array): Buffer {
  return new ByteWriter(48).u8(kindByte('file', executable)).varint(size).bytes(cid).finish()
}

export function encodeSymlink(target: Uint8Array): Buffer {
  return new ByteWriter(1 + target.length).u8(kindByte('symlink', false)).bytes(target).finish()
}

export function encodeDirectory(entries: number, cid: Uint8Array): Buffer {
  return new ByteWriter(48).u8(kindByte('directory', false)).varint(entries).bytes(cid).finish()
}

/** Undefined where the bytes are no node record. The result holds copies. */
export function decodeNode(bytes: Uint8Array): NodeRecord | undefined {
  const reader = new ByteReader(bytes)
  const type = kindOf(reader.u8())
  if (type === undefined) return undefined
  if (type.kind === 'symlink') return { kind: 'symlink', target: Buffer.from(reader.bytes.subarray(1)) }
  const number = reader.varint()
  if (number === undefined) return undefined
  const cid = Buffer.from(reader.bytes.subarray(reader.offset))
  if (!isCid(cid)) return undefined
  return type.kind === 'file'
    ? { kind: 'file', executable: type.executable, size: number, cid }
    : { kind: 'directory', cid, entries: number }
}

function kindByte(kind: NodeKind, executable: boolean): number {
  return kinds.indexOf(kind) | (executable ? EXECUTABLE_FLAG : 0)
}

const FILE_BYTE = kinds.indexOf('file')

function kindOf(byte: number | undefined): { kind: NodeKind; executable: boolean } | undefined {
  if (byte === undefined || (byte & ~(KIND_MASK | EXECUTABLE_FLAG)) !== 0) return undefined
  const kind = kinds[byte & KIND_MASK]
  const executable = (byte & EXECUTABLE_FLAG) !== 0
  return kind === undefined || (executable && kind !== 'file') ? undefined : { kind, executable }
}

/** The ordinals at which the pages of a directory begin; empty for an empty directory. */
export function splitPages(directory: number, entries: readonly ChildEntry[]): number[] {
  const starts: number[] = []
  let used = MAX_PAGE_BYTES
  for (let i = 0; i < entries.length; i++) {
    const bytes = 2 + entryBytes(directory, entries[i]!)
    if (used + bytes > MAX_PAGE_BYTES) {
      starts.push(i)
      used = PAGE_HEADER_BYTES
    }
    used += bytes
  }
  return starts
}

function entryBytes(directory: number, { name, id, size }: ChildEntry): number {
  if (name.length === 0 || name.length > 255) throw new RangeError(`name of ${name.length} bytes`)
  return 2 + name.length + varintLength(id - directory) + varintLength(size)
}

/** One page: the entries from ordinal `from` up to `to`. */
export function encodePage(
  writer: ByteWriter,
  directory: number,
  entries: readonly ChildEntry[],
  from: number,
  to: number,
  pages: number,
): void {
  const start = writer.length
  writer
    .u8(FORMAT)
    .u32(pages)
    .u16(to - from)
  let offset = PAGE_HEADER_BYTES + 2 * (to - from)
  for (let i = from; i < to; i++) {
    writer.u16(offset)
    offset += entryBytes(directory, entries[i]!)
  }
  for (let i = from; i < to; i++) {
    const { name, kind, executable, id, size } = entries[i]!
    writer.u8(name.length).bytes(name)
    writer
      .u8(kindByte(kind, executable))
      .varint(id - directory)
      .varint(size)
  }
  if (writer.length - start !== offset) throw new RangeError('entries changed while they were written')
}

export function encodePageIndex(writer: ByteWriter, entries: readonly ChildEntry[], starts: readonly number[]): void {
  writer.u8(FORMAT).u32(starts.length)
  let offset = INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES * starts.length
  for (const ordinal of starts) {
    writer.u32(ordinal).u32(offset)
    offset += 1 + entries[ordinal]!.name.length
  }
  for (const ordinal of starts) {
    const { name } = entries[ordinal]!
    writer.u8(name.length).bytes(name)
  }
}

/** A page of a directory's entries, read in place. The bytes must stay as they are. */
export class DirectoryPage {
  /** Pages that the directory has. */
  readonly pages: number
  readonly count: number
  readonly #bytes: Buffer
  readonly #reader: ByteReader

  private constructor(bytes: Buffer, pages: number, count: number) {
    this.#bytes = bytes
    this.#reader = new ByteReader(bytes)
    this.pages = pages
    this.count = count
  }

  /** Undefined where the bytes are no page. */
  static parse(bytes: Buffer): DirectoryPage | undefined {
    const reader = new ByteReader(bytes)
    const format = reader.u8()
    const pages = reader.u32()
    const count = reader.u16()
    if (format !== FORMAT || !pages || !count || bytes.length < PAGE_HEADER_BYTES + 2 * count) return undefined
    // Only that find() stays inside the page: entry() looks at the rest, and a whole page is much more than a lookup.
    for (let i = 0; i < count; i++) {
      const at = bytes.readUInt16LE(PAGE_HEADER_BYTES + 2 * i)
      const length = bytes[at]
      if (!length || at + 1 + length > bytes.length) return undefined
    }
    return new DirectoryPage(bytes, pages, count)
  }

  /** The place of the name in this page, or -1. */
  find(name: Uint8Array): number {
    const bytes = this.#bytes
    let low = 0
    let high = this.count - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const order = compareName(bytes, bytes.readUInt16LE(PAGE_HEADER_BYTES + 2 * middle), name)
      if (order === 0) return middle
      if (order < 0) low = middle + 1
      else high = middle - 1
    }
    return -1
  }

  /** The entry at this place in the page, its name a view; undefined where the bytes are none. */
  entry(place: number, directory: NodeId): NodeEntry | undefined {
    const reader = this.#reader
    reader.offset = this.#bytes.readUInt16LE(PAGE_HEADER_BYTES + 2 * place)
    const nameLength = reader.u8()
    const name = nameLength ? reader.take(nameLength) : undefined
    const byte = reader.u8()
    const distance = reader.varint()
    const size = reader.varint()
    if (name === undefined || byte === undefined || !distance || size === undefined) return undefined
    const kind = kinds[byte & KIND_MASK]
    const executable = (byte & EXECUTABLE_FLAG) !== 0
    if (kind === undefined || byte > (KIND_MASK | EXECUTABLE_FLAG) || (executable && byte !== FILE_EXECUTABLE_BYTE)) {
      return undefined
    }
    return { name, id: (directory + distance) as NodeId, kind, executable, size }
  }
}

const FILE_EXECUTABLE_BYTE = FILE_BYTE | EXECUTABLE_FLAG

/** Which page of a directory holds what. The bytes must stay as they are. */
export class PageIndex {
  readonly pages: number
  readonly #bytes: Buffer

  private constructor(bytes: Buffer, pages: number) {
    this.#bytes = bytes
    this.pages = pages
  }

  /** Undefined where the bytes are no page index. */
  static parse(bytes: Buffer): PageIndex | undefined {
    const reader = new ByteReader(bytes)
    const format = reader.u8()
    const pages = reader.u32()
    if (format !== FORMAT || !pages || bytes.length < INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES * pages) return undefined
    for (let i = 0; i < pages; i++) {
      const at = bytes.readUInt32LE(INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES * i + 4)
      const length = bytes[at]
      if (!length || at + 1 + length > bytes.length) return undefined
    }
    return new PageIndex(bytes, pages)
  }

  /** Ordinal of the page's first entry in the directory. */
  firstOrdinal(page: number): number {
    return this.#bytes.readUInt32LE(INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES * page)
  }

  /** The only page that can hold the name. */
  pageOfName(name: Uint8Array): number {
    const bytes = this.#bytes
    return this.#last(page => {
      const at = bytes.readUInt32LE(INDEX_HEADER_BYTES + INDEX_ENTRY_BYTES * page + 4)
      return compareName(bytes, at, name) <= 0
    })
  }

  /** The only page that can hold the entry of this ordinal. */
  pageOfOrdinal(ordinal: number): number {
    return this.#last(page => this.firstOrdinal(page) <= ordinal)
  }

  /** The last page for which `before` holds, which is taken to hold for the first. */
  #last(before: (page: number) => boolean): number {
    let low = 0
    let high = this.pages - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (before(middle)) low = middle
      else high = middle - 1
    }
    return low
  }
}

/** Compares the name at `at` (its length, then its bytes) with another: negative where it comes before. */
function compareName(bytes: Buffer, at: number, name: Uint8Array): number {
  const length = bytes[at]!
  const common = Math.min(length, name.length)
  // Names are short: for them this is several times faster than a call of Buffer's compare.
  for (let i = 0; i < common; i++) {
    const difference = bytes[at + 1 + i]! - name[i]!
    if (difference !== 0) return difference
  }
  return length - name.length
}
