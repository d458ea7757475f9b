import { closeSync, openSync, readSync, readvSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { DamagedError, StateError, systemCode } from '../errors.ts'
import { PACK_VERSION, readPackHeader } from './pack-format.ts'
import { type BlockLocation, CHECKSUM_PIECE } from './types.ts'

/** What {@link readPieces} needs of memory: one piece for each end of a range. */
export const SCRATCH_BYTES = 2 * CHECKSUM_PIECE

/**
 * A descriptor of a pack whose header is as it should be; undefined where there is no such file. Throws DamagedError for
 * another header, StateError where the file cannot be opened or a newer version has written it.
 */
export function openPack(path: string, pack: number): number | undefined {
  const fd = openBare(path)
  if (fd === undefined) return undefined
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

/** The same whatever the header says. */
export function openBare(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT') return undefined
    throw new StateError(`${path}: cannot be opened (${code})`, { cause: error })
  }
}

/**
 * Reads [start, start + length) of a block to `at` in `target`, which has the room; the range lies in the block and is
 * not empty. Whole pieces are read so that each can be held against its checksum: those that are wanted whole go
 * straight to the target, the first and the last, where they are not, through `scratch`. One system call for all.
 * Gives what is wrong with the block, if anything is; then the target's contents count for nothing.
 */
export function readPieces(
  fd: number,
  { offset, length: blockLength, checksums }: BlockLocation,
  start: number,
  length: number,
  target: Buffer,
  at: number,
  scratch: Buffer,
): string | undefined {
  const end = start + length
  const first = start - (start % CHECKSUM_PIECE)
  const lastStart = end - 1 - ((end - 1) % CHECKSUM_PIECE)
  const last = Math.min(blockLength, lastStart + CHECKSUM_PIECE)
  const firstEnd = Math.min(blockLength, first + CHECKSUM_PIECE)
  const headIsPart = start > first || end < firstEnd
  const tailIsPart = lastStart > first && end < last
  const wholeStart = headIsPart ? firstEnd : first
  const wholeEnd = tailIsPart ? lastStart : last

  const parts: Buffer[] = []
  if (headIsPart) parts.push(scratch.subarray(0, firstEnd - first))
  if (wholeStart < wholeEnd) parts.push(target.subarray(at + wholeStart - start, at + wholeEnd - start))
  if (tailIsPart) parts.push(scratch.subarray(CHECKSUM_PIECE, CHECKSUM_PIECE + last - lastStart))

  try {
    const alone = parts.length === 1 ? parts[0]! : undefined
    const position = offset + first
    const got = alone ? readSync(fd, alone, 0, alone.length, position) : readvSync(fd, parts, position)
    if (got !== last - first) return `the file ends at byte ${offset + first + got}, within the block`
  } catch (error) {
    return `it cannot be read (${systemCode(error)})`
  }
  let piece = first / CHECKSUM_PIECE
  for (const part of parts) {
    for (let from = 0; from < part.length; from += CHECKSUM_PIECE, piece++) {
      const bytes = part.length <= CHECKSUM_PIECE ? part : part.subarray(from, from + CHECKSUM_PIECE)
      if (crc32(bytes) !== checksums[piece]) return `the checksum of 64 KiB piece ${piece} does not match`
    }
  }
  if (headIsPart) scratch.copy(target, at, start - first, Math.min(end, firstEnd) - first)
  if (tailIsPart) scratch.copy(target, at + lastStart - start, CHECKSUM_PIECE, CHECKSUM_PIECE + end - lastStart)
  return undefined
}
