import { closeSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Batch, readPackHeader, scanPack } from './pack-format.ts'

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

/** The batches of all packs in a folder; of a damaged pack those before the damage. */
export function* scanPacks(folder: string): Generator<Batch> {
  for (const { number, file } of listPacks(folder)) {
    const fd = openSync(file, 'r')
    try {
      if (readPackHeader(fd)?.number === number) yield* scanPack(fd, number)
    } finally {
      closeSync(fd)
    }
  }
}
