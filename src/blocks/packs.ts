import { closeSync, fstatSync } from 'node:fs'
import { join } from 'node:path'
import { cidText, codec } from '../cid.ts'
import { DamagedError } from '../errors.ts'
import { packFileName } from './pack-format.ts'
import { openBare, openPack, readPieces, SCRATCH_BYTES } from './pack-read.ts'
import { ReadAround } from './read-around.ts'
import { type BlockLocation, type BlockLocations, type BlockReader, MAX_BLOCK_BYTES } from './types.ts'

const DEFAULT_OPEN_PACKS = 256
/** How often a reader looks for packs that were removed and are still open here. Milliseconds. */
const TRIM_INTERVAL = 5000

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
  readonly #openPack: typeof openPack
  /** Descriptors by pack number, the one used last at the end. */
  readonly #open = new Map<number, number>()
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  readonly #around = new ReadAround()
  #trimmed = Date.now()

  /** With `anyHeader` also from packs whose own header is damaged: then a block's hash alone tells what it is. */
  constructor(
    folder: string,
    locations: RefreshableLocations,
    { maxOpen = DEFAULT_OPEN_PACKS, anyHeader = false } = {},
  ) {
    this.#folder = folder
    this.#locations = locations
    this.#maxOpen = maxOpen
    this.#openPack = anyHeader ? openBare : openPack
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
    const fd = known ?? this.#openPack(this.#pathOf(pack), pack)
    if (fd === undefined) return undefined
    this.#open.delete(pack)
    this.#open.set(pack, fd)
    if (this.#open.size > this.#maxOpen) this.#closePack(this.#open.keys().next().value as number)
    return fd
  }

  #closePack(pack: number): void {
    closeSync(this.#open.get(pack)!)
    this.#open.delete(pack)
  }

  #read({ fd, location }: OpenBlock, multihash: Uint8Array, start: number, length: number, target: Buffer, at: number) {
    if (length === 0) return
    const read = () => readPieces(fd, location, start, length, target, at, this.#scratch)
    const why = this.#around.around(fd, location.offset + start, length, read)
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
