import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { cidText, parseCid } from '../../src/cid.ts'
import { EMPTY_NAME } from '../../src/nix/tree.ts'
import { listDirectory, lookupInDirectory } from '../../src/unixfs/directory.ts'
import { decodeNode, linkLength } from '../../src/unixfs/node.ts'
import { type KuboRepo, kuboRepo } from '../helpers/kubo.ts'
import { randomTree, writeTree } from '../helpers/random-tree.ts'
import { tempFolder } from '../helpers/temp.ts'
import { blocksOf, build, bytesOf, carOf, getFrom, tellFile, tellFolder } from './support.ts'

/** The CID of what lies at a path, by Kubo. */
function kuboCid(kubo: KuboRepo, path: string): string {
  return kubo.ipfs(['add', '-rQ', '--hidden', '--only-hash', path]).toString().trim()
}

function buildFolder(path: string) {
  return build(sink => tellFolder(sink, path))
}

test('files, folders, symlinks and names of every kind have the CIDs of Kubo', async t => {
  const kubo = await kuboRepo(t)
  const folder = tempFolder(t, 'unixfs')
  const at = (name: string) => join(folder, name)
  const cases: [name: string, make: (path: string) => void][] = [
    ['empty file', path => writeFileSync(path, '')],
    ['empty folder', path => mkdirSync(path)],
    ['one byte', path => writeFileSync(path, 'x')],
    ['1 MiB - 1', path => writeFileSync(path, bytesOf(1, 1024 * 1024 - 1))],
    ['1 MiB', path => writeFileSync(path, bytesOf(2, 1024 * 1024))],
    ['1 MiB + 1', path => writeFileSync(path, bytesOf(3, 1024 * 1024 + 1))],
    [
      'symlinks',
      path => {
        mkdirSync(path)
        symlinkSync('x', join(path, 'dangling'))
        symlinkSync('.', join(path, 'loop'))
        for (const length of [127, 128, 200, 4095]) symlinkSync('t'.repeat(length), join(path, `long ${length}`))
      },
    ],
    [
      'hidden',
      path => {
        mkdirSync(join(path, '.folder', '.inner'), { recursive: true })
        writeFileSync(join(path, '.hidden'), 'hidden')
        writeFileSync(join(path, '.folder', '..x'), 'hidden')
        mkdirSync(join(path, '.empty'))
      },
    ],
    [
      'names of every byte',
      path => {
        mkdirSync(path)
        for (let byte = 1; byte < 256; byte++) {
          if (byte === 0x2f) continue
          writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0x61, byte])]), `${byte}`)
          if (byte === 0x2e) continue
          mkdirSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([byte])]))
        }
      },
    ],
    [
      'long names',
      path => {
        mkdirSync(path)
        for (const length of [79, 80, 81, 82, 83, 84, 85, 126, 127, 128, 129, 255])
          writeFileSync(join(path, 'n'.repeat(length)), '')
      },
    ],
    ...Array.from({ length: 8 }, (_, seed): [string, (path: string) => void] => [
      `random ${seed}`,
      path => writeTree(randomTree(seed, { executables: false, entries: 150 }), path),
    ]),
    ['deep', path => mkdirSync(join(path, ...Array(400).fill('d')), { recursive: true })],
  ]
  for (const [name, make] of cases) {
    make(at(name))
    assert.equal(cidText(buildFolder(at(name)).root), kuboCid(kubo, at(name)), name)
  }
  assert.equal(cidText(buildFolder(folder).root), kuboCid(kubo, folder), 'all together')
})

test('a folder at the limit is flat and beyond it sharded, as in Kubo', async t => {
  const kubo = await kuboRepo(t)
  const parent = tempFolder(t, 'unixfs')
  const cases: [length: number, folders: boolean, type: string][] = [
    [262_144, false, 'directory'],
    [262_145, false, 'hamt-shard'],
    [262_144, true, 'directory'],
    // With folders in it and only just beyond the limit, Kubo 0.42 gives one form or the other at random: it enters
    // them a second time in the order of a Go map, and takes the new link's name for empty when it asks whether the
    // directory could be flat again.
    [263_000, true, 'hamt-shard'],
  ]
  for (const [length, folders, type] of cases) {
    const folder = join(parent, `${length} ${folders}`)
    mkdirSync(folder)
    // Tsizes of one byte to four, of leaves, of larger files and of folders.
    for (let i = 0; i < 800; i++) {
      const path = join(folder, `${i}`.padEnd(200 + (i % 50), 'n'))
      if (folders && i % 5 === 0) {
        mkdirSync(path)
        if (i % 2 === 0) writeFileSync(join(path, 'file'), bytesOf(i, i))
      } else {
        writeFileSync(path, '')
        truncateSync(path, i % 200 === 1 ? 3_000_000 : i % 7 === 0 ? i * 20 : 0)
      }
    }
    fillUp(folder, length)
    const built = buildFolder(folder)
    assert.equal(decodeNode(built.get(built.root)!).data?.type, type)
    assert.equal(cidText(built.root), kuboCid(kubo, folder), `${length} ${folders}`)
  }
})

/** Adds empty files until the folder's flat node has exactly `length` bytes. */
function fillUp(folder: string, length: number): void {
  const { root, get } = buildFolder(folder)
  let left = length - get(root)!.length
  for (let i = 0; left > 0; i++) {
    // Names of 1 to 80 bytes give links of 44 to 123 bytes.
    const size = left > 246 ? 123 : left > 123 ? Math.floor(left / 2) : left
    writeFileSync(join(folder, `${i}`.padEnd(size - linkLength(36, 0, 0), 'z')), '')
    left -= size
  }
}

test('Kubo restores executables, and everything else of the tree', async t => {
  const kubo = await kuboRepo(t)
  const files: [name: string, contents: Buffer, executable: boolean][] = [
    ['a program', bytesOf(1, 5000), true],
    ['b data', bytesOf(2, 5000), false],
    ['c empty program', Buffer.alloc(0), true],
    ['d empty', Buffer.alloc(0), false],
    ['e large program', bytesOf(3, 2 * 1024 * 1024 + 1), true],
    ['f one chunk', bytesOf(4, 1024 * 1024), true],
  ]
  const built = build(sink => {
    sink.directory(EMPTY_NAME)
    for (const [name, contents, executable] of files) tellFile(sink, name, contents, executable)
    sink.symlink(Buffer.from('g link'), Buffer.from('a program'))
    sink.endDirectory()
  })
  kubo.ipfs(['dag', 'import', '--pin-roots=false'], carOf(built.blocks, built.root))
  const out = join(tempFolder(t, 'unixfs'), 'out')
  kubo.ipfs(['get', '-o', out, cidText(built.root)])
  for (const [name, contents, executable] of files) {
    assert.ok(readFileSync(join(out, name)).equals(contents), name)
    const mode = lstatSync(join(out, name)).mode & 0o7777
    if (executable) assert.equal(mode, 0o555, name)
    else assert.equal(mode & 0o111, 0, name)
  }
  assert.equal(readlinkSync(join(out, 'g link')), 'a program')
  const listed = kubo.ipfs(['ls', '-l', cidText(built.root)]).toString()
  assert.equal(listed.split('\n').filter(line => line.startsWith('-r-xr-xr-x')).length, 4)
})

test('sharded folders of other widths that Kubo makes are read', async t => {
  const kubo = await kuboRepo(t)
  const folder = tempFolder(t, 'unixfs')
  const names = Array.from({ length: 300 }, (_, i) => `name ${i}`)
  for (const name of names) writeFileSync(join(folder, name), name)
  for (const fanout of [8, 16, 512, 1024]) {
    const args = ['--max-directory-links=10', `--max-hamt-fanout=${fanout}`]
    const root = parseCid(
      kubo
        .ipfs(['add', '-rQ', '--pin=false', ...args, folder])
        .toString()
        .trim(),
    )
    const get = getFrom(blocksOf(kubo.ipfs(['dag', 'export', '--progress=false', cidText(root)])))
    assert.equal(decodeNode(get(root)!).data?.fanout, fanout)
    assert.deepEqual(
      listDirectory(get, root).map(({ name }) => name.toString()),
      names.toSorted(),
    )
    for (const name of names) assert.ok(lookupInDirectory(get, root, Buffer.from(name)), name)
    assert.equal(lookupInDirectory(get, root, Buffer.from('absent')), undefined)
  }
})
