import { ByteWriter } from '../bytes.ts'
import type { CidBytes } from '../cid.ts'
import type { ChildEntry, Leaf } from '../unixfs/types.ts'
import { TRAILER_BYTES } from './checksum.ts'
import { encodeLeaves, splitLeaves } from './contents.ts'
import { contentsKey, type DatabaseName, type NodeRow, nodeKey, nodeRow, pageKey } from './keys.ts'
import {
  encodeDirectory,
  encodeFile,
  encodePage,
  encodePageIndex,
  encodeSymlink,
  MAX_VALUE_BYTES,
  splitPages,
} from './nodes.ts'
import type { NodeRun } from './types.ts'

/** A row of the index that is ready but for its key's id and its trailer. */
export interface PendingRow {
  database: DatabaseName
  /** Valid until the next row. */
  key: Buffer
  /** With room for the trailer at its end. */
  value: Buffer
  /** Set on rows of leaf tables: the file. */
  file: Buffer | undefined
}

const FIRST_CHUNK_BYTES = 8 * 1024
const MAX_CHUNK_BYTES = 1024 * 1024
/** u8 row, u32 id within the tree, u32 page, u32 length of the value with its trailer, u16 length of the CID. */
const HEADER_BYTES = 15
const CONTENTS_ROW = 0x63

/**
 * Collects a tree's rows as bytes, in chunks, so that a tree of a million entries is a few large buffers and not
 * millions of objects. Ids are those within the tree until {@link rows} is told where they begin.
 */
export class NodeRunLog implements NodeRun {
  #entries = 0
  readonly #chunks: Buffer[] = []
  #chunk = Buffer.alloc(0)
  #used = 0
  readonly #writer = new ByteWriter(MAX_VALUE_BYTES)

  get entries(): number {
    return this.#entries
  }

  /** Of all rows, roughly. */
  get bytes(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.length, this.#used)
  }

  file(id: number, executable: boolean, size: number, cid: CidBytes, leaves: readonly Leaf[] | undefined): void {
    this.#append(nodeRow.record, id, 0, encodeFile(executable, size, cid))
    this.#entries++
    if (leaves !== undefined && leaves.length > 0) this.#leafTable(cid, leaves)
  }

  symlink(id: number, target: Uint8Array): void {
    this.#append(nodeRow.record, id, 0, encodeSymlink(target))
    this.#entries++
  }

  directory(id: number, cid: CidBytes, entries: readonly ChildEntry[]): void {
    this.#append(nodeRow.record, id, 0, encodeDirectory(entries.length, cid))
    this.#entries++
    const starts = splitPages(id, entries)
    for (let page = 0; page < starts.length; page++) {
      this.#writer.reset()
      encodePage(this.#writer, id, entries, starts[page]!, starts[page + 1] ?? entries.length, starts.length)
      this.#append(nodeRow.page, id, page, this.#writer.view())
    }
    if (starts.length > 1) {
      this.#writer.reset()
      encodePageIndex(this.#writer, entries, starts)
      this.#append(nodeRow.pageIndex, id, 0, this.#writer.view())
    }
  }

  /** The first page comes last, so that its presence means that the table is whole. */
  #leafTable(file: CidBytes, leaves: readonly Leaf[]): void {
    const starts = splitLeaves(leaves)
    let end = leaves.length
    let offset = leaves.reduce((sum, { length }) => sum + length, 0)
    for (let page = starts.length - 1; page >= 0; page--) {
      const from = starts[page]!
      for (let i = from; i < end; i++) offset -= leaves[i]!.length
      this.#writer.reset()
      encodeLeaves(this.#writer, leaves, from, end, starts.length, offset)
      this.#append(CONTENTS_ROW, 0, page, this.#writer.view(), file)
      end = from
    }
  }

  #append(row: NodeRow | typeof CONTENTS_ROW, id: number, page: number, payload: Uint8Array, file?: CidBytes): void {
    const length = payload.length + TRAILER_BYTES
    const fileLength = file?.length ?? 0
    const bytes = HEADER_BYTES + fileLength + length
    if (this.#used + bytes > this.#chunk.length) this.#grow(bytes)
    const chunk = this.#chunk
    const at = this.#used
    chunk[at] = row
    chunk.writeUInt32LE(id, at + 1)
    chunk.writeUInt32LE(page, at + 5)
    chunk.writeUInt32LE(length, at + 9)
    chunk.writeUInt16LE(fileLength, at + 13)
    if (file !== undefined) chunk.set(file, at + HEADER_BYTES)
    chunk.set(payload, at + HEADER_BYTES + fileLength)
    this.#used = at + bytes
  }

  #grow(bytes: number): void {
    this.#closeChunk()
    const size = Math.min(MAX_CHUNK_BYTES, Math.max(FIRST_CHUNK_BYTES, 2 * this.#chunk.length))
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(size, bytes))
    this.#used = 0
  }

  #closeChunk(): void {
    if (this.#used > 0) this.#chunks.push(this.#chunk.subarray(0, this.#used))
  }

  /** Every row, in the order it was told, for a tree whose root has the id `firstNode`. */
  *rows(firstNode: number): Generator<PendingRow> {
    const chunks = this.#used > 0 ? [...this.#chunks, this.#chunk.subarray(0, this.#used)] : this.#chunks
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length; ) {
        const row = chunk[at]!
        const id = firstNode + chunk.readUInt32LE(at + 1)
        const page = chunk.readUInt32LE(at + 5)
        const fileLength = chunk.readUInt16LE(at + 13)
        const start = at + HEADER_BYTES + fileLength
        const end = start + chunk.readUInt32LE(at + 9)
        const file = row === CONTENTS_ROW ? chunk.subarray(at + HEADER_BYTES, start) : undefined
        const key = file
          ? contentsKey(file, page)
          : row === nodeRow.page
            ? pageKey(id, page)
            : nodeKey(row as NodeRow, id)
        yield { database: file ? 'contents' : 'nodes', key, value: chunk.subarray(start, end), file }
        at = end
      }
    }
  }

  /** The files whose leaf tables are in the run, once for each page. */
  *files(): Generator<Buffer> {
    for (const { file } of this.rows(0)) if (file !== undefined) yield file
  }
}
