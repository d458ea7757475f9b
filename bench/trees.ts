import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Seeded } from './seeded.ts'

/** A tree on the disk, and what is in it. */
export interface Input {
  path: string
  /** Nodes, the root included. */
  entries: number
  files: number
  /** Of all files. */
  bytes: number
}

const MIB = 1024 * 1024

/**
 * Sizes of the files in a Debian /usr/include with compilers and development packages: 7,935 files of 115 MB. Every
 * twentieth of them from the smallest to 95 %, then 99 %, 99.9 % and the largest.
 */
const HEADER_SIZES: readonly [share: number, bytes: number][] = [
  ...[
    0, 678, 1031, 1294, 1593, 1903, 2351, 2841, 3439, 3933, 4916, 6085, 7648, 9402, 12117, 16066, 21210, 26814, 36182,
    57530,
  ].map((bytes, i): [number, number] => [i / 20, bytes]),
  [0.99, 109_792],
  [0.999, 262_081],
  [1, 2_546_580],
]

/** Such a tree has a folder for every ten files. */
const FILES_PER_FOLDER = 10

/**
 * A tree of `files` small files with the sizes and the shape of /usr/include. Contents do not repeat (there, every
 * fourth file is a copy), and nothing is executable.
 */
export function makeHeaders(path: string, seed: string, files: number): Input {
  const seeded = new Seeded(seed)
  const folders = [path]
  mkdirSync(path)
  while (folders.length < files / FILES_PER_FOLDER) {
    const folder = join(folders[seeded.below(folders.length)]!, `folder-${folders.length}`)
    mkdirSync(folder)
    folders.push(folder)
  }
  let bytes = 0
  for (let i = 0; i < files; i++) {
    const contents = seeded.bytes(headerSize(seeded.number()))
    writeFileSync(join(folders[seeded.below(folders.length)]!, `header-${i}.h`), contents)
    bytes += contents.length
  }
  return { path, entries: files + folders.length, files, bytes }
}

/** The size that `share` of all files do not exceed. */
function headerSize(share: number): number {
  const above = HEADER_SIZES.findIndex(([other]) => other > share)
  const [from, low] = HEADER_SIZES[above - 1]!
  const [to, high] = HEADER_SIZES[above]!
  return Math.round(low + ((share - from) / (to - from)) * (high - low))
}

/** One file of `mebibytes`, without a repeated chunk. */
export function makeLargeFile(path: string, seed: string, mebibytes: number): Input {
  const seeded = new Seeded(seed)
  const file = openSync(path, 'wx')
  for (let i = 0; i < mebibytes; i++) {
    const bytes = seeded.bytes(MIB)
    for (let at = 0; at < MIB; ) at += writeSync(file, bytes, at)
  }
  closeSync(file)
  return { path, entries: 1, files: 1, bytes: mebibytes * MIB }
}

/** What the reading suite reads: folder `d` with files f0, f1, … of `fileBytes`, and file `big`. */
export function makeReadTree(path: string, seed: string, count: number, fileBytes: number, mebibytes: number): Input {
  const seeded = new Seeded(seed)
  mkdirSync(join(path, 'd'), { recursive: true })
  for (let i = 0; i < count; i++) writeFileSync(join(path, 'd', `f${i}`), seeded.bytes(fileBytes))
  const { bytes } = makeLargeFile(join(path, 'big'), `${seed} big`, mebibytes)
  return { path, entries: count + 3, files: count + 1, bytes: count * fileBytes + bytes }
}
