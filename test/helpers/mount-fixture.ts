import { createCipheriv } from 'node:crypto'
import { chmodSync, copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onCleanup, type TestScope } from './cleanup.ts'
import { type NixStore, nixStore } from './nix.ts'
import { buildProbe } from './probe.ts'
import { output } from './run.ts'
import { tempFolder } from './temp.ts'

const MIB = 1024 * 1024

/** Entries of the tree's folder `many`. */
export const MANY_ENTRIES = 20_000

/** Folders below each other in the tree's folder `deep`; a file lies in the last one. */
export const DEEP_LEVELS = 60

/** Regular files of the tree's folder `sizes`: their names are their sizes, around what one block holds. */
export const sizes = [1, 4096, MIB - 1, MIB, MIB + 1, 3 * MIB + 17] as const

/** Store paths in a real Nix store of the tests' own, and a program that looks at them. */
export interface MountFixture {
  readonly nix: NixStore
  /** The program probe.c, outside the store. */
  readonly probe: string
  /** Everything a store path may hold, names as UTF-8. */
  readonly tree: string
  /** Names and link targets that are not UTF-8. */
  readonly undecodable: string
  /** Store paths that are no folders: a regular file, an executable one, a symlink to `tree`. */
  readonly file: string
  readonly program: string
  readonly link: string
}

/**
 * Keeps the temporary folders that follow in memory until the scope ends: making tens of thousands of files takes a
 * disk half a minute. Needs root.
 */
export async function tempInMemory(t: TestScope): Promise<void> {
  const folder = tempFolder(t, 'memory')
  await output('mount', ['-t', 'tmpfs', '-o', 'mode=755', 'none', folder])
  const before = process.env.TMPDIR
  process.env.TMPDIR = folder
  onCleanup(t, () => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
  })
}

/** Builds the trees and adds them to a fresh Nix store. */
export async function mountFixture(t: TestScope): Promise<MountFixture> {
  const nix = nixStore(t)
  const work = tempFolder(t, 'fixture')
  const probe = await buildProbe(work)
  const made = (name: string, make: (path: string) => void) => {
    const path = join(work, name)
    make(path)
    return nix.add(path)
  }
  const tree = await made('tree', folder => makeTree(folder, probe))
  return {
    nix,
    probe,
    tree,
    undecodable: await made('undecodable', makeUndecodableTree),
    file: await made('file', path => writeFileSync(path, 'a store path that is a file\n')),
    program: await made('program', path => copyFileSync(probe, path)),
    link: await made('link', path => symlinkSync(tree, path)),
  }
}

/** Adds valid paths of the fixture's Nix store to a state, with further arguments. Throws where it fails. */
export async function addToState(
  { nix }: MountFixture,
  state: string,
  paths: readonly string[],
  args: readonly string[] = [],
): Promise<void> {
  const { code, stderr } = await nix.cli(['add', ...paths, '--state', state, ...args])
  if (code !== 0) throw new Error(`nix-ipfs-mount add failed with status ${code}: ${stderr}`)
}

/** `count` bytes without any pattern, the same at every run for the same seed. */
export function noise(seed: number, count: number): Buffer {
  const key = Buffer.alloc(32)
  key.writeUInt32LE(seed)
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(count))
}

/** Gives whole numbers below a limit without any pattern, the same at every run for the same seed. */
export function numbers(seed: number): (limit: number) => number {
  let state = seed
  return limit => {
    // A linear congruential generator; its low bits have short periods, so the high ones count.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}

function makeTree(folder: string, probe: string): void {
  const path = (...names: string[]) => join(folder, ...names)
  for (const name of ['bin', 'sizes', 'links', 'empty-folder', '.hidden-folder', 'names', 'many']) {
    mkdirSync(path(name), { recursive: true })
  }
  copyFileSync(probe, path('bin', 'probe'))
  writeFileSync(path('bin', 'script'), '#!/bin/sh\necho script "$@"\n')
  writeFileSync(path('bin', 'large'), noise(1, MIB + 5))
  for (const name of ['probe', 'script', 'large']) chmodSync(path('bin', name), 0o755)
  writeFileSync(path('empty-file'), '')
  writeFileSync(path('empty-program'), '', { mode: 0o755 })
  writeFileSync(path('.hidden'), 'hidden\n')
  writeFileSync(path('.hidden-folder', '.deeper'), 'deeper\n')
  for (const size of sizes) writeFileSync(path('sizes', `${size}`), noise(size, size))
  makeLinks(path('links'))
  for (const name of oddNames) writeFileSync(path('names', name), `${JSON.stringify(name)}\n`)
  mkdirSync(path('names', 'a folder\n'))
  writeFileSync(path('names', 'a folder\n', '-rf'), 'in a folder with an odd name\n')
  const deep = path('deep', ...Array.from({ length: DEEP_LEVELS }, (_, level) => `level-${level}`))
  mkdirSync(deep, { recursive: true })
  writeFileSync(join(deep, 'bottom'), 'the bottom\n')
  for (let i = 0; i < MANY_ENTRIES; i++) {
    writeFileSync(path('many', `entry-${i}`), i % 4 === 0 ? `content of entry ${i % 1000}\n` : '')
  }
}

function makeLinks(folder: string): void {
  const links = {
    relative: '../sizes/1',
    absolute: '/nix/store/00000000000000000000000000000000-elsewhere/bin/sh',
    dangling: 'does/not/exist',
    folder: '../empty-folder',
    itself: 'itself',
    'long-300': `./${'x'.repeat(298)}`,
    'long-4095': 'y'.repeat(4095),
    'odd\ntarget': ' \n"\'\\\u{1f600}',
  }
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(folder, name))
}

/** Each a trap for somebody: shells, options, encodings, orders by UTF-16, Unicode forms, the limit of 255 bytes. */
const oddNames = [
  'with space',
  ' leading and trailing ',
  'new\nline',
  'tab\tand\x1bescape',
  '"double" \'single\' `back`',
  'back\\slash',
  '-leading-dash',
  '--help',
  '*?[a]{b}$HOME',
  'percent%00 plus+ colon: comma,',
  '...',
  '..dots',
  '~',
  '\ufeffbyte order mark',
  'caf\u00e9',
  'cafe\u0301',
  'upper',
  'UPPER',
  '\uff5e sorts before emoji in UTF-8 and after them in UTF-16',
  '\u{1f600}\u{1f468}\u200d\u{1f469}\u200d\u{1f467}',
  'a'.repeat(255),
  '\u20ac'.repeat(85),
]

/** Names in the tree that is not UTF-8, as bytes: two files that decode to the same, a folder, a link. */
export const undecodableNames = {
  file: Buffer.from('a\xffb', 'latin1'),
  /** Is UTF-8: what a decoder makes of the name before. */
  twin: Buffer.from('a\ufffdb'),
  folder: Buffer.from('folder\x80', 'latin1'),
  inFolder: Buffer.from('inside'),
  linkToBytes: Buffer.from('link-to-bytes'),
  plain: Buffer.from('plain'),
} as const

function makeUndecodableTree(folder: string): void {
  const { file, twin, folder: subfolder, inFolder, linkToBytes, plain } = undecodableNames
  const path = (...names: Buffer[]) =>
    Buffer.concat([Buffer.from(folder), ...names.flatMap(n => [Buffer.from('/'), n])])
  mkdirSync(folder)
  mkdirSync(path(subfolder))
  writeFileSync(path(file), 'name is bytes\n')
  writeFileSync(path(twin), 'name is text!\n')
  writeFileSync(path(subfolder, inFolder), 'in a folder whose name is bytes\n')
  symlinkSync(Buffer.from('target\xfe', 'latin1'), path(linkToBytes))
  writeFileSync(path(plain), 'plain\n')
}
