import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MemoryBlocks } from '../../src/blocks/memory.ts'
import { sha256 } from '../../src/cid.ts'
import { ChangedError, RefusedError } from '../../src/errors.ts'
import { type WalkProgress, walkFolder } from '../../src/store/folder.ts'
import { TreeBuilder, type TreeResult } from '../../src/unixfs/builder.ts'
import type { NodeSink } from '../../src/unixfs/types.ts'
import type { TestScope } from '../helpers/cleanup.ts'
import { output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'

// The folder walker. Room for a chunk is asked for just before it is read, which is where these tests interfere.

const MIB = 1024 * 1024
const ignored: NodeSink = { file: () => {}, symlink: () => {}, directory: () => {} }

class InterferedWith extends TreeBuilder {
  readonly #interfere: (chunk: number) => void
  #chunks = 0

  constructor(interfere: (chunk: number) => void) {
    super({ writer: new MemoryBlocks(), nodes: ignored })
    this.#interfere = interfere
  }

  override space(): Buffer {
    this.#interfere(++this.#chunks)
    return super.space()
  }
}

interface Walked extends TreeResult {
  progress: WalkProgress
  yields: number
}

/** Reads the folder to its end; `interfere` is called before each chunk, counted from 1. */
function walk(folder: string, interfere: (chunk: number) => void = () => {}): Walked {
  const progress: WalkProgress = { entries: 0, bytes: 0 }
  const builder = new InterferedWith(interfere)
  let yields = 0
  for (const _ of walkFolder(folder, builder, progress)) yields++
  return { ...builder.finish(), progress, yields }
}

/** A folder with a first file of three chunks, and more behind it. */
function folderOf(t: TestScope): string {
  const folder = join(tempFolder(t), 'tree')
  mkdirSync(join(folder, 'sub'), { recursive: true })
  writeFileSync(join(folder, 'a'), Buffer.alloc(3 * MIB, 'a'))
  writeFileSync(join(folder, 'b'), 'b')
  writeFileSync(join(folder, 'sub', 'c'), 'c')
  symlinkSync('a', join(folder, 'sub', 'd'))
  return folder
}

test('a tree is read as Nix reads it, with the executable bit of the owner alone', async t => {
  const folder = folderOf(t)
  for (const mode of [0o644, 0o755, 0o744, 0o654, 0o645, 0o100, 0o4711, 0o444]) {
    writeFileSync(join(folder, `mode-${mode.toString(8)}`), 'x')
    chmodSync(join(folder, `mode-${mode.toString(8)}`), mode)
  }
  const nar = await output('nix-store', ['--dump', folder])
  const { narHash, narSize, entries, totalSize, progress } = walk(folder)
  assert.deepEqual(narHash, sha256(nar))
  assert.equal(narSize, nar.length)
  assert.deepEqual([entries, totalSize], [14, 3 * MIB + 2 + 8])
  assert.deepEqual(progress, { entries: 14, bytes: totalSize })
})

test('the caller gets a turn now and then', t => {
  const folder = join(tempFolder(t), 'tree')
  mkdirSync(folder)
  for (let i = 0; i < 1000; i++) writeFileSync(join(folder, `${i}`), '')
  assert.ok(walk(folder).yields >= 3)
  const large = join(tempFolder(t), 'large')
  writeFileSync(large, '')
  truncateSync(large, 32 * MIB)
  assert.ok(walk(large).yields >= 7)
})

const changes: Record<string, { change: (folder: string) => void; where: string }> = {
  'the file grows': { change: folder => appendFileSync(join(folder, 'a'), 'more'), where: '/a' },
  'the file shrinks': { change: folder => truncateSync(join(folder, 'a'), MIB + 1), where: '/a' },
  'the file is emptied': { change: folder => truncateSync(join(folder, 'a'), 0), where: '/a' },
  'the file is written over': {
    change: folder => writeFileSync(join(folder, 'a'), Buffer.alloc(3 * MIB)),
    where: '/a',
  },
  'the file becomes executable': { change: folder => chmodSync(join(folder, 'a'), 0o755), where: '/a' },
  'a later file vanishes': { change: folder => rmSync(join(folder, 'b')), where: '/b' },
  'a later folder vanishes': { change: folder => rmSync(join(folder, 'sub'), { recursive: true }), where: '/sub' },
  'a file appears': { change: folder => writeFileSync(join(folder, '0'), ''), where: '' },
  'a file is renamed': { change: folder => renameSync(join(folder, 'b'), join(folder, 'bb')), where: '/b' },
  'a later file becomes a folder': {
    change: folder => {
      rmSync(join(folder, 'b'))
      mkdirSync(join(folder, 'b'))
    },
    where: '',
  },
}

for (const [what, { change, where }] of Object.entries(changes)) {
  test(`refused: ${what} while its folder is read`, t => {
    const folder = folderOf(t)
    assert.throws(
      () => walk(folder, chunk => chunk === 2 && change(folder)),
      (error: unknown) => error instanceof ChangedError && error.message.startsWith(`${folder}${where}: `),
    )
    // The same folder at rest is taken.
    assert.ok(walk(folder).entries > 1)
  })
}

test('refused: a folder that changes after it was listed, deep down', t => {
  const folder = folderOf(t)
  writeFileSync(join(folder, 'sub', 'c'), Buffer.alloc(MIB, 'c'))
  // The fourth chunk is b, the fifth is sub/c.
  assert.throws(
    () => walk(folder, chunk => chunk === 5 && writeFileSync(join(folder, 'sub', 'late'), '')),
    (error: unknown) => error instanceof ChangedError && error.message.startsWith(`${join(folder, 'sub')}: `),
  )
})

test('refused: a root that is not there, or is no file, folder or symlink', async t => {
  const folder = tempFolder(t)
  const refused = (path: string, says: string) =>
    assert.throws(
      () => walk(path),
      (error: unknown) =>
        error instanceof RefusedError && error.message.startsWith(`${path}: `) && error.message.includes(says),
    )
  refused(join(folder, 'absent'), 'does not exist')
  await output('mkfifo', [join(folder, 'fifo')])
  refused(join(folder, 'fifo'), 'fifo')
  refused('/dev/null', 'device')
})
