import { closeSync, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { asBuffer, ByteWriter } from '../bytes.ts'
import { cidText, codec, sha256Multihash } from '../cid.ts'
import { DamagedError, StateError, systemCode } from '../errors.ts'
import { BatchMemory } from './batch-memory.ts'
import { PAGE_BYTES, PackFile, syncFolder } from './pack-file.ts'
import {
  BATCH_HEADER_BYTES,
  blockRowBytes,
  encodeBatchHeader,
  MAX_BATCH_BYTES,
  PACK_HEADER_BYTES,
  PACK_VERSION,
  packFileName,
  readPackHeader,
  recordRowBytes,
  writeBlockRow,
  writeRecordRow,
} from './pack-format.ts'
import { readPieces, SCRATCH_BYTES } from './pack-read.ts'
import {
  type BlockLocation,
  type BlockLocations,
  type BlockReader,
  type BlockRow,
  type BlockStaging,
  checksumsOf,
  MAX_BLOCK_BYTES,
} from './types.ts'

const DEFAULT_PACK_BYTES = 1024 * 1024 * 1024
const DEFAULT_OPEN_PACKS = 256
/** How often a reader looks for packs that were removed and are still open here. Milliseconds. */
const TRIM_INTERVAL = 5000

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

/** Where blocks lie, and how to see what others have committed since. */
export type RefreshableLocations = BlockLocations & { refresh?(): void }

interface OpenBlock {
  fd: number
  location: BlockLocation
}

/** Reads blocks from the packs of one folder. Every piece that is read is held against its checksum. */
export class PackReader implements BlockReader {
  readonly #folder: string
  readonly #locations: RefreshableLocations
  readonly #maxOpen: number
  /** Descriptors by pack number, the one used last at the end. */
  readonly #open = new Map<number, number>()
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  #trimmed = Date.now()

  constructor(folder: string, locations: RefreshableLocations, { maxOpen = DEFAULT_OPEN_PACKS } = {}) {
    this.#folder = folder
    this.#locations = locations
    this.#maxOpen = maxOpen
  }

  has(multihash: Uint8Array): boolean {
    const location = this.#locations.locate(multihash)
    return location !== undefined && location.pack !== 0
  }

  get(multihash: Uint8Array): Buffer | undefined {
    const block = this.#find(multihash)
    if (block === undefined) return undefined
    const { length } = block.location
    if (length > MAX_BLOCK_BYTES) throw this.#damaged(multihash, block.location, `the index gives it ${length} bytes`)
    const bytes = Buffer.allocUnsafe(length)
    this.#read(block, multihash, 0, length, bytes, 0)
    return bytes
  }

  readInto(multihash: Uint8Array, start: number, length: number, target: Buffer, at: number): boolean {
    if (at + length > target.length) throw new RangeError(`no room for ${length} bytes at ${at} of ${target.length}`)
    const block = this.#find(multihash)
    if (block === undefined) return false
    if (start + length > block.location.length) {
      throw this.#damaged(multihash, block.location, `bytes up to ${start + length} of ${block.location.length}`)
    }
    this.#read(block, multihash, start, length, target, at)
    return true
  }

  /** Where the block is and its open pack. A pack that is gone was emptied by a gc: then the block is elsewhere now. */
  #find(multihash: Uint8Array): OpenBlock | undefined {
    for (let again = false; ; again = true) {
      const location = this.#locations.locate(multihash)
      // Pack 0 stands for a block store of another kind.
      if (location === undefined || location.pack === 0) return undefined
      const fd = this.#descriptor(location.pack)
      if (fd !== undefined) return { fd, location }
      if (again) throw this.#damaged(multihash, location, 'there is no such file')
      this.#locations.refresh?.()
    }
  }

  /** Undefined where there is no such pack. */
  #descriptor(pack: number): number | undefined {
    if (Date.now() - this.#trimmed > TRIM_INTERVAL) this.closeRemoved()
    const known = this.#open.get(pack)
    // The order of use matters only when packs are about to be closed.
    if (known !== undefined && this.#open.size < this.#maxOpen) return known
    const fd = known ?? this.#openPack(pack)
    if (fd === undefined) return undefined
    this.#open.delete(pack)
    this.#open.set(pack, fd)
    if (this.#open.size > this.#maxOpen) this.#closePack(this.#open.keys().next().value as number)
    return fd
  }

  #openPack(pack: number): number | undefined {
    const path = this.#pathOf(pack)
    let fd: number
    try {
      fd = openSync(path, 'r')
    } catch (error) {
      const code = systemCode(error)
      if (code === 'ENOENT') return undefined
      throw new StateError(`${path}: cannot be opened (${code})`, { cause: error })
    }
    try {
      const header = readPackHeader(fd)
      if (header === undefined || header.number !== pack) throw new DamagedError(`${path}: is not pack ${pack}`)
      if (header.version > PACK_VERSION) {
        throw new StateError(`${path}: has version ${header.version}; use a newer nix-ipfs-mount`)
      }
      return fd
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  #closePack(pack: number): void {
    closeSync(this.#open.get(pack)!)
    this.#open.delete(pack)
  }

  #read({ fd, location }: OpenBlock, multihash: Uint8Array, start: number, length: number, target: Buffer, at: number) {
    if (length === 0) return
    const why = readPieces(fd, location, start, length, target, at, this.#scratch)
    if (why !== undefined) throw this.#damaged(multihash, location, why)
  }

  #damaged(multihash: Uint8Array, { pack, offset }: BlockLocation, why: string): DamagedError {
    const cid = cidText(Buffer.concat([Buffer.of(1, codec.raw), multihash]))
    return new DamagedError(`block ${cid} in ${this.#pathOf(pack)} at byte ${offset}: ${why}`)
  }

  #pathOf(pack: number): string {
    return join(this.#folder, packFileName(pack))
  }

  /** Closes packs that were removed, which would keep their space on the disk. Called by itself now and then. */
  closeRemoved(): void {
    this.#trimmed = Date.now()
    for (const [pack, fd] of this.#open) if (fstatSync(fd).nlink === 0) this.#closePack(pack)
  }

  close(): void {
    for (const pack of this.#open.keys()) this.#closePack(pack)
  }
}
