import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import { kuboRepo } from '../helpers/kubo.ts'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import {
  type AddedLine,
  addOne,
  assertFailed,
  done,
  doneText,
  infoOne,
  known,
  type LsEntry,
  listing,
  newState,
  patterned,
  sampleTree,
  shownBytes,
} from './support.ts'

// `info`, `ls`, `cat` and `nar`: the store read without a mount.

const scope = { after }
const state = newState(scope)
const tree = join(tempFolder(scope), 'tree')
const oddTree = join(tempFolder(scope), 'odd')
/** Names that are not UTF-8, not printable, or not in the order of their code units. */
const oddNames = [
  Buffer.from('new\nline'),
  Buffer.from('café'),
  Buffer.from([0x61, 0xff]),
  Buffer.from([0xc3, 0x28]),
  Buffer.from([0xed, 0xb2, 0x80]),
  Buffer.from('\u{1f600}'),
  Buffer.from('\ufb00'),
  Buffer.from([1, 0x7f]),
]
let added: AddedLine
let odd: AddedLine

before(async () => {
  sampleTree(tree)
  mkdirSync(oddTree)
  for (const name of oddNames) writeFileSync(Buffer.concat([Buffer.from(`${oddTree}/`), name]), name)
  symlinkSync(Buffer.from([0x2f, 0xfe, 0x2e]), join(oddTree, 'to-bytes'))
  added = await addOne(state, [tree])
  odd = await addOne(state, [oddTree])
})

/** The three ways to name a store path. */
function spellings(path: string): string[] {
  const baseName = basename(path)
  return [path, baseName, baseName.slice(0, 32)]
}

test('info by full path, base name and hash part', async () => {
  const expected = {
    path: added.path,
    root: added.root,
    nar: added.nar,
    narHash: added.narHash,
    narSize: added.narSize,
    references: [],
    deriver: null,
    ca: `fixed:r:${added.narHash}`,
    signatures: [],
    trust: 'content',
    pinned: true,
    entries: 12,
    size: 2 * 1024 * 1024 + 3 + 6 + 22 + 19,
    local: 2 * 1024 * 1024 + 3 + 6 + 22 + 19,
  }
  for (const spelling of spellings(added.path)) {
    const info = await infoOne(state, spelling)
    assert.deepEqual(info, expected)
    assert.deepEqual(Object.keys(info), Object.keys(expected))
  }
})

test('info of several paths is a line or a block for each, in the order asked for', async () => {
  const stdout = await doneText(['info', '--json', '--state', state, odd.path, added.path])
  const lines = stdout.trimEnd().split('\n')
  assert.deepEqual(
    lines.map(line => JSON.parse(line).path),
    [odd.path, added.path],
  )
  const text = await doneText(['info', '--state', state, added.path])
  for (const value of [added.path, added.root, added.nar, added.narHash, `${added.narSize}`, 'content']) {
    assert.ok(text.includes(value), value)
  }
})

test('ls alone lists base names, sorted', async () => {
  const baseNames = [added.path, odd.path].map(path => basename(path)).sort()
  assert.equal(await doneText(['ls', '--state', state]), baseNames.map(name => `${name}\n`).join(''))
  assert.deepEqual(
    await listing(state),
    baseNames.map(name => ({
      name,
      type: 'directory',
      size: 0,
      executable: false,
      target: null,
      cid: name === basename(added.path) ? added.root : odd.root,
    })),
  )
})

test('ls alone on an empty state prints nothing, or an empty array', async t => {
  const empty = newState(t)
  assert.equal(await doneText(['ls', '--state', empty]), '')
  assert.equal(await doneText(['ls', '--state', empty, '--json']), '[]\n')
})

test('ls of a path, of a folder and of a file below it', async () => {
  const names = ['.hidden', 'bin', 'dangling', 'hello.txt', 'nothing', 'sub']
  for (const spelling of spellings(added.path)) {
    assert.equal(await doneText(['ls', '--state', state, spelling]), names.map(name => `${name}\n`).join(''))
    assert.equal(await doneText(['ls', '--state', state, `${spelling}/sub`]), 'empty\nlarge\nlink\n')
  }
  assert.equal(await doneText(['ls', '--state', state, `${added.path}/sub/empty`]), '')
  assert.equal(await doneText(['ls', '--state', state, `${added.path}/sub/large`]), 'large\n')
})

test('ls --json gives name, type, size, executable, target and the CID that Kubo gives', async t => {
  const kubo = await kuboRepo(t)
  const cidOf = (name: string) =>
    kubo
      .ipfs(['add', '-r', '--hidden', '-Q', '--only-hash', join(tree, name)])
      .toString()
      .trim()
  const entries = Object.fromEntries((await listing(state, [added.path])).map(entry => [entry.name, entry]))
  const plain = { executable: false, target: null }
  const { bin, sub, dangling } = entries
  assert.deepEqual(entries['hello.txt'], {
    name: 'hello.txt',
    type: 'regular',
    size: 6,
    ...plain,
    cid: cidOf('hello.txt'),
  })
  assert.deepEqual(sub, { name: 'sub', type: 'directory', size: 0, ...plain, cid: cidOf('sub') })
  assert.deepEqual(
    { ...dangling, cid: '' },
    { name: 'dangling', type: 'symlink', size: 15, executable: false, target: '/nowhere/at all', cid: '' },
  )
  assert.deepEqual(Object.keys(bin!), ['name', 'type', 'size', 'executable', 'target', 'cid'])
  const programs = await listing(state, [`${added.path}/bin`])
  assert.deepEqual(
    programs.map(({ name, executable, size }) => [name, executable, size]),
    [
      ['empty', true, 0],
      ['run', true, 19],
    ],
  )
  // The one DAG of an empty executable, as the design page writes it down.
  assert.equal(programs[0]?.cid, 'bafybeiejsblrg76i2hxwipom2lyhehq3ftfxbiurtumuxrfhz5u2jys7ne')
})

test('ls -R lists everything below, each with its path', async () => {
  const paths = [
    '.hidden',
    'bin',
    'bin/empty',
    'bin/run',
    'dangling',
    'hello.txt',
    'nothing',
    'sub',
    'sub/empty',
    'sub/large',
    'sub/link',
  ]
  assert.equal(await doneText(['ls', '-R', '--state', state, added.path]), paths.map(path => `${path}\n`).join(''))
  const entries = await listing(state, ['-R', added.path])
  assert.deepEqual(
    entries.map(({ path }) => path),
    paths,
  )
  assert.deepEqual(Object.keys(entries[0]!), ['path', 'name', 'type', 'size', 'executable', 'target', 'cid'])
  assert.equal(entries.find(({ path }) => path === 'sub/link')?.target, '../hello.txt')
  assert.equal((await listing(state, ['-R'])).filter(({ path }) => path?.startsWith(basename(added.path))).length, 12)
})

test('ls -l shows mode, size and target', async () => {
  const lines = (await doneText(['ls', '-l', '-R', '--state', state, added.path])).trimEnd().split('\n')
  const line = (end: string) => lines.find(text => text.endsWith(end))
  assert.match(line(' hello.txt')!, /^-r--r--r-- +6 hello\.txt$/)
  assert.match(line(' bin/run')!, /^-r-xr-xr-x +19 bin\/run$/)
  assert.match(line(' sub')!, /^dr-xr-xr-x +0 sub$/)
  assert.match(line(' -> ../hello.txt')!, /^l[r-][w-][x-][r-][w-][x-][r-][w-][x-] +12 sub\/link -> \.\.\/hello\.txt$/)
})

test('names are bytes: sorted as bytes, and in JSON what is not UTF-8 as U+DC80 to U+DCFF', async () => {
  const entries = await listing(state, [odd.path])
  const expected = [...oddNames, Buffer.from('to-bytes')].sort(Buffer.compare).map(shownBytes)
  assert.deepEqual(
    entries.map(({ name }) => name),
    expected,
  )
  assert.equal(entries.find(({ name }) => name === 'to-bytes')?.target, '/\udcfe.')
  const lines = (await doneText(['ls', '--state', state, odd.path])).split('\n')
  assert.equal(lines.length, oddNames.length + 2, 'a line for each, whatever the name')
  assert.ok(lines.includes('new\\012line'))
  assert.ok(lines.includes('a\\377'))
})

test('cat takes names beyond printable ASCII', async () => {
  assert.equal((await done(['cat', '--state', state, `${odd.path}/café`])).toString(), 'café')
  assert.equal((await done(['cat', '--state', state, `${odd.path}/new\nline`])).toString(), 'new\nline')
})

test('cat gives the exact bytes', async t => {
  for (const spelling of spellings(added.path)) {
    assert.equal(await doneText(['cat', '--state', state, `${spelling}/hello.txt`]), 'hello\n')
  }
  const large = readFileSync(join(tree, 'sub', 'large'))
  assert.ok((await done(['cat', '--state', state, `${added.path}/sub/large`])).equals(large))
  assert.equal((await done(['cat', '--state', state, `${added.path}/nothing`])).length, 0)
  const lone = join(tempFolder(t), 'lone')
  const contents = patterned(5 * 1024 * 1024 + 1)
  writeFileSync(lone, contents)
  chmodSync(lone, 0o755)
  const other = newState(t)
  const { path } = await addOne(other, [lone])
  assert.ok((await done(['cat', '--state', other, path])).equals(contents))
})

test('cat refuses what is no regular file', async () => {
  assertFailed(await cli(['cat', '--state', state, added.path]), [added.path, 'directory'])
  assertFailed(await cli(['cat', '--state', state, `${added.path}/sub/link`]), ['/sub/link', 'symlink'])
  assertFailed(await cli(['cat', '--state', state, `${added.path}/sub/none`]), ['/sub/none', 'does not exist'])
  assertFailed(await cli(['cat', '--state', state, `${added.path}/hello.txt/x`]), ['/hello.txt/x', 'does not exist'])
  assertFailed(await cli(['ls', '--state', state, `${added.path}/none`]), ['/none', 'does not exist'])
})

test('nar gives what nix-store --dump gives', async () => {
  const dump = await output('nix-store', ['--dump', tree])
  for (const spelling of spellings(added.path)) {
    assert.ok((await done(['nar', '--state', state, spelling])).equals(dump))
  }
  const oddDump = await output('nix-store', ['--dump', oddTree])
  assert.ok((await done(['nar', '--state', state, odd.path])).equals(oddDump))
})

test('what is not known is said in one line', async () => {
  const path = `/nix/store/${'a'.repeat(32)}-unknown`
  for (const command of ['info', 'ls', 'cat', 'nar', 'forget']) {
    assertFailed(await cli([command, '--state', state, path]), [path, 'not known'])
  }
  for (const spelling of spellings(path)) {
    assertFailed(await cli(['info', '--state', state, spelling]), ['a'.repeat(32), 'not known'])
  }
  const otherName = `${added.path}-other`
  assertFailed(await cli(['info', '--state', state, otherName]), [otherName])
})

test('what is no store path is wrong usage', async () => {
  for (const text of ['nonsense', '/etc/passwd', `/nix/store/${'e'.repeat(32)}-x`, '']) {
    assertFailed(await cli(['info', '--state', state, text]), ['store path'], 2)
  }
  for (const command of ['ls', 'cat', 'nar', 'forget']) {
    assertFailed(await cli([command, '--state', state, 'nonsense']), ['store path'], 2)
  }
})

test('reading changes nothing', async () => {
  const before: LsEntry[] = await listing(state, ['-R'])
  await done(['info', '--state', state, added.path])
  assert.deepEqual(await listing(state, ['-R']), before)
  assert.equal((await known(state)).length, 2)
})
