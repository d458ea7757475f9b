import { closeSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Batch, readPackHeader, scanPack } from './pack-format.ts'
import { readPieces, SCRATCH_BYTES } from './pack-read.ts'
import { type BlockRow, MAX_BLOCK_BYTES } from './types.ts'

/** A pack file that is there. */
export interface PackName {
  number: number
  file: string
}

/** The packs in a folder, by number, which is the order in which they were begun. */
export function listPacks(folder: string): PackName[] {
  const packs = readdirSync(folder).flatMap(name => {
    const number = /^([1-9][0-9]*)\.pack$/.exec(name)?.[1]
    return number === undefined ? [] : [{ number: Number(number), file: join(folder, name) }]
  })
  return packs.sort((a, b) => a.number - b.number)
}

/**
 * The batches of all packs in a folder, with those of their blocks that are still good: one that is not would be taken
 * for known when its path is added again. Of a damaged pack there are the batches before the damage.
 */
export function* scanPacks(folder: string): Generator<Batch> {
  const target = Buffer.allocUnsafeSlow(MAX_BLOCK_BYTES)
  const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  for (const { number, file } of listPacks(folder)) {
    const fd = openSync(file, 'r')
    const isGood = ({ location }: BlockRow) =>
      location.length === 0 || readPieces(fd, location, 0, location.length, target, 0, scratch) === undefined
    try {
      if (readPackHeader(fd)?.number !== number) continue
      for (const batch of scanPack(fd, number)) yield { ...batch, blocks: batch.blocks.filter(isGood) }
    } finally {
      closeSync(fd)
    }
  }
}
