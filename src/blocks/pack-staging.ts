import { asBuffer, ByteWriter } from '../bytes.ts'
import { sha256Multihash } from '../cid.ts'
import { StateError, systemCode } from '../errors.ts'
import { BatchMemory } from './batch-memory.ts'
import { PAGE_BYTES, PackFile, syncFolder } from './pack-file.ts'
import {
  BATCH_HEADER_BYTES,
  blockRowBytes,
  encodeBatchHeader,
  MAX_BATCH_BYTES,
  PACK_HEADER_BYTES,
  recordRowBytes,
  writeBlockRow,
  writeRecordRow,
} from './pack-format.ts'
import { type BlockRow, type BlockStaging, checksumsOf, MAX_BLOCK_BYTES } from './types.ts'

const DEFAULT_PACK_BYTES = 1024 * 1024 * 1024

export interface PackStagingOptions {
  /** Of the state's node ids; goes into the header of each pack. */
  epoch: number
  /** A pack number that was never used before. */
  allocate: () => number
  /** True where the index has the block already. */
  known: (multihash: Uint8Array) => boolean
  /** A pack that has grown to this size is followed by a new one. */
  maxPackBytes?: number
}

/**
 * Collects new blocks in a buffer of 16 MiB and appends it as a batch to a pack file of its own, while the next one is
 * filled. What was not synced is nobody's: the index learns of a block only after {@link sync}. Nothing is ever
 * overwritten or truncated.
 */
export class PackStaging implements BlockStaging {
  readonly #folder: string
  readonly #options: Required<PackStagingOptions>
  #memory = new BatchMemory()
  /** The buffer that is being filled; its blocks begin at `#start`. */
  #data: Buffer | undefined
  #start = 0
  /** Bytes of blocks in the batch that is being filled, and its table. */
  #used = 0
  readonly #table = new ByteWriter(64 * 1024)
  #tableRows = 0
  /** Rooms in it that are reserved one behind the other and not put yet. */
  #held = 0
  /** Of the last batch, header and table: large files make many batches alike. */
  #lastHeadBytes = BATCH_HEADER_BYTES
  /** Rows of the batch that is being filled; their offsets still count from the start of its data. */
  #batch: BlockRow[] = []
  /** Rows of batches that are written and not synced. */
  #written: BlockRow[] = []
  /** Digests of both. */
  #pending = new Set<string>()
  #pendingBytes = 0
  readonly #reused = new Set<string>()
  #file: PackFile | undefined
  /** Files with batches that are not synced. */
  readonly #unsynced = new Set<PackFile>()

  constructor(folder: string, options: PackStagingOptions) {
    this.#folder = folder
    this.#options = { maxPackBytes: DEFAULT_PACK_BYTES, ...options }
  }

  get pendingRows(): number {
    return this.#pending.size
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  get full(): boolean {
    return this.#memory.full
  }

  async drain(): Promise<void> {
    try {
      await this.#memory.drain()
    } catch (error) {
      throw this.#failed(error)
    }
  }

  reserve(size: number): Buffer {
    if (size > MAX_BLOCK_BYTES) throw new RangeError(`block of ${size} bytes`)
    this.#held = 0
    const data = this.#room(size, blockRowBytes(size))
    const at = this.#start + this.#used
    return data.subarray(at, at + size)
  }

  reserveBehind(held: readonly Buffer[], size: number): Buffer | undefined {
    if (size > MAX_BLOCK_BYTES) throw new RangeError(`block of ${size} bytes`)
    const data = this.#data
    const last = held.at(-1)
    if (data === undefined || last === undefined || last.buffer !== data.buffer) return undefined
    const at = last.byteOffset + last.length - data.byteOffset
    const rows = held.reduce((sum, { length }) => sum + blockRowBytes(length), blockRowBytes(size))
    const total = BATCH_HEADER_BYTES + this.#table.length + rows + (at - this.#start) + size
    if (total > MAX_BATCH_BYTES) return undefined
    this.#held = held.length + 1
    return data.subarray(at, at + size)
  }

  put(digest: Uint8Array, bytes: Uint8Array, known?: Uint32Array): void {
    if (this.#held > 0) this.#held--
    const key = asBuffer(digest).toString('latin1')
    if (this.#pending.has(key) || this.#reused.has(key)) return
    const multihash = sha256Multihash(digest)
    if (this.#options.known(multihash)) {
      this.#reused.add(key)
      return
    }
    const { length } = bytes
    if (length > MAX_BLOCK_BYTES) throw new RangeError(`block of ${length} bytes`)
    const data = this.#room(length, blockRowBytes(length))
    const at = this.#start + this.#used
    const inPlace = bytes.buffer === data.buffer && bytes.byteOffset === data.byteOffset + at
    if (!inPlace) data.set(bytes, at)
    const checksums = known ?? checksumsOf(bytes)
    writeBlockRow(this.#table, multihash, length, checksums)
    this.#tableRows++
    this.#batch.push({ multihash, location: { pack: 0, offset: this.#used, length, checksums } })
    this.#pending.add(key)
    this.#used += length
    this.#pendingBytes += length
  }

  record(bytes: Uint8Array): void {
    const rowBytes = recordRowBytes(bytes.length)
    if (BATCH_HEADER_BYTES + rowBytes > MAX_BATCH_BYTES) throw new RangeError(`path record of ${bytes.length} bytes`)
    this.#room(0, rowBytes)
    writeRecordRow(this.#table, bytes)
    this.#tableRows++
  }

  /** The data buffer, with room in the batch for this much more data and table. */
  #room(dataBytes: number, tableBytes: number): Buffer {
    const total = BATCH_HEADER_BYTES + this.#table.length + tableBytes + this.#used + dataBytes
    if (total > MAX_BATCH_BYTES) this.#flush()
    if (this.#data === undefined) {
      this.#data = this.#memory.take()
      const expected = (this.#file?.size ?? PACK_HEADER_BYTES) + this.#lastHeadBytes
      this.#start = PAGE_BYTES + (expected % PAGE_BYTES)
    }
    return this.#data
  }

  /** Writes the batch that is being filled, or begins to. */
  #flush(): void {
    if (this.#tableRows === 0) return
    const table = this.#table.view()
    const header = encodeBatchHeader(this.#tableRows, table, this.#used)
    try {
      const file = this.#openFile()
      file.append([header, table])
      this.#unsynced.add(file)
      for (const { location } of this.#batch) {
        location.pack = file.number
        location.offset += file.size
      }
      this.#appendData(file)
    } catch (error) {
      throw this.#failed(error)
    }
    this.#lastHeadBytes = header.length + table.length
    for (const row of this.#batch) this.#written.push(row)
    this.#resetBatch()
  }

  #appendData(file: PackFile): void {
    if (this.#data === undefined) return
    let start = this.#start
    // A caller that cannot wait while it puts, as for a large folder, finds the last buffer written when it comes back.
    // And a buffer in which somebody holds chunks is not given away.
    if (this.#memory.full || this.#held > 0) return file.append([this.#data.subarray(start, start + this.#used)])
    // Of the file's pages only whole ones can be written past the cache, and from whole ones in memory.
    const shift = (PAGE_BYTES + start - (file.size % PAGE_BYTES)) % PAGE_BYTES
    if (shift > 0) this.#data.copyWithin(start - shift, start, start + this.#used)
    start -= shift
    const write = file.appendDirect(this.#data.subarray(start, start + this.#used))
    if (write === undefined) return
    this.#memory.busy(this.#data, write)
    this.#data = undefined
  }

  #openFile(): PackFile {
    if (this.#file !== undefined && this.#file.size >= this.#options.maxPackBytes) {
      if (!this.#unsynced.has(this.#file)) this.#file.close()
      this.#file = undefined
    }
    this.#file ??= PackFile.create(this.#folder, this.#options.allocate(), this.#options.epoch)
    return this.#file
  }

  /**
   * Half a batch may stand at the end of the file, and a scan ends there: nothing may follow it. A sync that failed
   * says nothing of what is on the disk. Either way the file gets nothing more.
   */
  #failed(error: unknown): Error {
    this.abandon()
    this.#closeFile()
    const code = systemCode(error)
    if (code === undefined) return error as Error
    const why = code === 'ENOSPC' || code === 'EDQUOT' ? 'no space left on the device' : `cannot be written (${code})`
    return new StateError(`${this.#folder}: ${why}, nothing was added`, { cause: error })
  }

  async sync(): Promise<BlockRow[]> {
    this.#flush()
    const files = [...this.#unsynced]
    const rows = this.#written
    this.#unsynced.clear()
    this.#written = []
    this.#pending = new Set()
    this.#pendingBytes = 0
    if (files.length === 0) return []
    try {
      await this.#memory.written()
      await Promise.all(files.map(file => file.sync()))
      if (files.some(file => !file.committed)) await syncFolder(this.#folder)
    } catch (error) {
      for (const file of files) if (file !== this.#file) dropFile(file)
      throw this.#failed(error)
    }
    for (const file of files) {
      file.committed = true
      if (file !== this.#file) file.close()
    }
    return rows
  }

  takeReused(): Buffer {
    const digests = [...this.#reused]
    this.#reused.clear()
    return Buffer.concat(digests.map(digest => sha256Multihash(Buffer.from(digest, 'latin1'))))
  }

  abandon(): void {
    this.#resetBatch()
    // What is being written comes to its end, and nobody asks how.
    this.#memory = new BatchMemory()
    this.#data = undefined
    this.#held = 0
    this.#written = []
    this.#pending = new Set()
    this.#pendingBytes = 0
    for (const file of this.#unsynced) if (file !== this.#file) dropFile(file)
    this.#unsynced.clear()
    // What was written to a file that counts stays there, as dead bytes.
    if (this.#file?.committed === false) this.#closeFile()
  }

  #resetBatch(): void {
    this.#used = 0
    this.#table.reset()
    this.#tableRows = 0
    this.#batch = []
  }

  #closeFile(): void {
    if (this.#file !== undefined) dropFile(this.#file)
    this.#file = undefined
  }

  async close(): Promise<void> {
    this.abandon()
    this.#closeFile()
  }
}

function dropFile(file: PackFile): void {
  if (file.committed) file.close()
  else file.discard()
}
