import { closeSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DamagedError, StateError, systemCode } from '../errors.ts'
import { type Batch, type PackEnd, packFileName, scanPack } from './pack-format.ts'
import { openPack, readPieces, SCRATCH_BYTES } from './pack-read.ts'
import { type BlockRow, MAX_BLOCK_BYTES } from './types.ts'

/** A pack file that is there, and what can be read of it. */
export interface PackScan {
  number: number
  file: string
  /** Once; the blocks themselves are not looked at. Throws StateError. */
  batches: Generator<Batch, PackEnd>
}

/** The numbers of the packs in a folder, in the order in which they were begun; none where there is no folder. */
export function listPacks(folder: string): number[] {
  const numbers = namesIn(folder).flatMap(name => /^([1-9][0-9]*)\.pack$/.exec(name)?.[1] ?? [])
  return numbers.map(Number).sort((a, b) => a - b)
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch (cause) {
    const code = systemCode(cause)
    if (code === 'ENOENT') return []
    throw new StateError(`${folder}: cannot be read (${code})`, { cause })
  }
}

/** The packs in a folder, by number. */
export function* readPacks(folder: string): Generator<PackScan> {
  for (const number of listPacks(folder)) {
    const file = join(folder, packFileName(number))
    yield { number, file, batches: readPack(file, number, () => true) }
  }
}

/**
 * The batches of all packs in a folder, with those of their blocks that are still good: one that is not would be taken
 * for known when its path is added again. Of a damaged pack there are the batches before the damage.
 */
export function* scanPacks(folder: string): Generator<Batch> {
  const target = Buffer.allocUnsafeSlow(MAX_BLOCK_BYTES)
  const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  const isGood = (fd: number, { location }: BlockRow) =>
    location.length === 0 || readPieces(fd, location, 0, location.length, target, 0, scratch) === undefined
  for (const number of listPacks(folder)) yield* readPack(join(folder, packFileName(number)), number, isGood)
}

function* readPack(
  file: string,
  number: number,
  isWanted: (fd: number, row: BlockRow) => boolean,
): Generator<Batch, PackEnd> {
  let fd: number | undefined
  try {
    fd = openPack(file, number)
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error
    return { end: 0, why: 'its header is not that of this pack' }
  }
  if (fd === undefined) return { end: 0, why: 'there is no such file' }
  try {
    const batches = scanPack(fd, number)
    for (;;) {
      const next = batches.next()
      if (next.done === true) return next.value
      const open = fd
      yield { ...next.value, blocks: next.value.blocks.filter(row => isWanted(open, row)) }
    }
  } finally {
    closeSync(fd)
  }
}
