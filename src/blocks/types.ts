import { crc32 } from 'node:zlib'
import type { CidBytes } from '../cid.ts'

/** What the rest of the program knows of block storage. Keys are whole multihashes, as in Kubo's datastore. */

/** A block is refused beyond this, as by Bitswap. Bytes. */
export const MAX_BLOCK_BYTES = 2 * 1024 * 1024

/** Reads blocks that are here, synchronously. */
export interface BlockReader {
  has(multihash: Uint8Array): boolean
  /** A copy of the block, its checksums verified; `undefined` if it is not here. Throws DamagedError. */
  get(multihash: Uint8Array): Buffer | undefined
  /**
   * Reads `length` bytes of the block from byte `start` into `target` at `at`, checksums verified.
   * False if the block is not here. Throws DamagedError, also where the block is shorter than asked.
   */
  readInto(multihash: Uint8Array, start: number, length: number, target: Buffer, at: number): boolean
}

/**
 * Takes new blocks. `reserve` gives room in the store's own buffer, so that bytes read from a file need no second
 * copy: fill a prefix, then `put` a view that starts where the reserved room starts. Any `put` ends a reservation.
 */
export interface BlockWriter {
  /** At least `size` writable bytes; `size` is at most {@link MAX_BLOCK_BYTES}. */
  reserve(size: number): Buffer
  /**
   * Room for `size` bytes behind `held`: rooms that lie one behind the other, reserved and filled and not put yet. They
   * stay as they are until they are put, in their order and before anything else. Undefined where they must be put
   * first. A store whose memory other threads cannot see does not have this.
   */
  reserveBehind?(held: readonly Buffer[], size: number): Buffer | undefined
  /**
   * Stores a block under its sha2-256 digest (32 bytes), unless it is known. The caller vouches for the digest, and for
   * the checksums where it has them already.
   */
  put(digest: Uint8Array, bytes: Uint8Array, checksums?: Uint32Array): void
}

/** Where a block lies in the packs. */
export interface BlockLocation {
  pack: number
  /** Of the block's first byte in the pack file. */
  offset: number
  length: number
  /** CRC-32 of each {@link CHECKSUM_PIECE} bytes of the block, counted from its start, the last one short. */
  checksums: Uint32Array
}

/** Bytes that one checksum covers. */
export const CHECKSUM_PIECE = 65536

/** Number of checksums that a block of this length has. */
export function checksumCount(length: number): number {
  return Math.ceil(length / CHECKSUM_PIECE)
}

/** The checksums of a whole block. */
export function checksumsOf(block: Uint8Array): Uint32Array {
  const checksums = new Uint32Array(checksumCount(block.length))
  if (checksums.length === 1) checksums[0] = crc32(block)
  else {
    for (let i = 0; i < checksums.length; i++) {
      checksums[i] = crc32(block.subarray(i * CHECKSUM_PIECE, (i + 1) * CHECKSUM_PIECE))
    }
  }
  return checksums
}

/** Implemented by the index. */
export interface BlockLocations {
  locate(multihash: Uint8Array): BlockLocation | undefined
}

/** A new block's place, to be entered in the index. */
export interface BlockRow {
  multihash: Uint8Array
  location: BlockLocation
}

/** Blocks on their way into a store: `put` them, `sync`, then enter the rows in the index. */
export interface BlockStaging extends BlockWriter {
  /** Blocks put since the last {@link sync}, in rows and in bytes: a caller syncs before they grow without bound. */
  readonly pendingRows: number
  readonly pendingBytes: number
  /** True when the caller must `await drain()` before it puts more. */
  readonly full: boolean
  drain(): Promise<void>
  /** Keeps a copy of a path's record beside the blocks, durable with the next {@link sync}. */
  record(bytes: Uint8Array): void
  /** Makes everything put so far durable; the rows that the index does not have yet. */
  sync(): Promise<BlockRow[]>
  /** Multihashes (34 bytes each) that {@link put} found in the index since the last call. */
  takeReused(): Buffer
  /** Gives up what was put since the last {@link sync}. */
  abandon(): void
  close(): Promise<void>
}

/** Brings a block that is not here to where a {@link BlockReader} finds it, or throws. Verified against the CID. */
export type FetchBlock = (cid: CidBytes) => Promise<void>

/** Keeps the blocks of store paths from a garbage collection that is not ours. */
export interface BlockPins {
  /** Pins DAGs whole, all of whose blocks must be there already, under a name that people recognise. */
  add(name: string, roots: readonly CidBytes[]): Promise<void>
  remove(roots: readonly CidBytes[]): Promise<void>
  /** True where all of these DAGs are pinned. */
  pinned(roots: readonly CidBytes[]): Promise<boolean>
}
