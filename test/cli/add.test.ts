import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import { kuboRepo } from '../helpers/kubo.ts'
import { nixStore } from '../helpers/nix.ts'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import {
  type AddedLine,
  addOne,
  assertFailed,
  done,
  doneText,
  infoOne,
  jsonLines,
  known,
  newState,
  packSizes,
  plainTree,
  sampleTree,
} from './support.ts'

// The CLI contract of design section 8 for `add` of files, folders and NARs, against the real Nix and the real Kubo.

const scope = { after }
const nix = nixStore(scope)
const work = tempFolder(scope)

test('gives the path that Nix gives: folders, files, executables, symlinks', async t => {
  const state = newState(t)
  sampleTree(join(work, 'tree'))
  writeFileSync(join(work, 'lone-file'), 'alone')
  writeFileSync(join(work, 'lone-program'), '#!/bin/sh\n', { mode: 0o755 })
  writeFileSync(join(work, 'lone-empty'), '')
  mkdirSync(join(work, 'lone-folder'))
  symlinkSync('tree/hello.txt', join(work, 'lone-link'))
  symlinkSync('/does/not/exist', join(work, 'lone-dangling'))
  const names = ['tree', 'lone-file', 'lone-program', 'lone-empty', 'lone-folder', 'lone-link', 'lone-dangling']
  const files = names.map(name => join(work, name))
  const added = await doneText(['add', '--state', state, ...files])
  const byNix = await Promise.all(
    names.map(async (name, i) => {
      const path = await nix.addPath(files[i]!, name)
      // nix-store --add follows a symlink given as its argument.
      if (!/link|dangling/.test(name)) assert.equal(await nix.add(files[i]!), path)
      return path
    }),
  )
  assert.deepEqual(added.split('\n'), [...byNix, ''])
  assert.deepEqual((await known(state)).sort(), byNix.map(path => basename(path)).sort())
})

test('--name gives another name to the same contents', async t => {
  const state = newState(t)
  const file = join(work, 'named')
  writeFileSync(file, 'contents')
  const path = await nix.addPath(file, 'other-1.0')
  assert.equal(await doneText(['add', '--state', state, file, '--name', 'other-1.0']), `${path}\n`)
  const own = await addOne(state, [file])
  assert.equal(own.path, await nix.addPath(file, 'named'))
  assert.notEqual(own.path, path)
  assert.equal(own.root, (await infoOne(state, path)).root)
  assert.equal(own.new, true)
})

test('names a relative path, and one with a slash at its end, by its last component', async t => {
  const state = newState(t)
  const folder = join(work, 'relative')
  mkdirSync(folder)
  writeFileSync(join(folder, 'file'), 'x')
  const path = await nix.addPath(folder, 'relative')
  assert.equal(await doneText(['add', '--state', state, 'relative/'], { cwd: work }), `${path}\n`)
  assert.equal(await doneText(['add', '--state', state, '.'], { cwd: folder }), `${path}\n`)
})

test('--json says path, root, nar, narHash, narSize and whether it is new', async t => {
  const state = newState(t)
  const folder = join(work, 'json')
  sampleTree(folder)
  const first = await addOne(state, [folder])
  assert.deepEqual(Object.keys(first), ['path', 'root', 'nar', 'narHash', 'narSize', 'new'])
  const stored = await nix.addPath(folder, 'json')
  const dump = await nix.dump(stored)
  assert.equal(first.path, stored)
  assert.match(first.root, /^bafybei[a-z2-7]{52}$/)
  assert.match(first.nar, /^bafybei[a-z2-7]{52}$/)
  assert.equal(first.narHash, (await nix.output('nix-store', ['--query', '--hash', stored])).toString().trim())
  assert.equal(first.narSize, dump.length)
  assert.equal(first.new, true)

  const packs = packSizes(state)
  assert.ok(Object.keys(packs).length > 0)
  assert.deepEqual(await addOne(state, [folder]), { ...first, new: false })
  assert.equal(await doneText(['add', '--state', state, folder]), `${stored}\n`)
  assert.deepEqual(packSizes(state), packs)
})

test('stores equal contents once', async t => {
  const state = newState(t)
  const folder = join(work, 'twice')
  plainTree(folder)
  const size = () => Object.values(packSizes(state)).reduce((sum, bytes) => sum + bytes, 0)
  await addOne(state, [folder])
  const before = size()
  const again = await addOne(state, [folder, '--name', 'same-under-another-name'])
  assert.equal(again.new, true)
  assert.ok(size() - before < 10_000, `${size() - before} more bytes`)
})

test('the root is the CID that Kubo gives a tree without executables', async t => {
  const state = newState(t)
  const kubo = await kuboRepo(t)
  const folder = join(work, 'plain')
  plainTree(folder)
  const cid = kubo.ipfs(['add', '-r', '--hidden', '-Q', '--only-hash', folder]).toString().trim()
  assert.equal((await addOne(state, [folder])).root, cid)
  const file = join(folder, 'sub', 'large')
  const fileCid = kubo.ipfs(['add', '-Q', '--only-hash', file]).toString().trim()
  assert.equal((await addOne(state, [file])).root, fileCid)
})

test('--nar takes the same tree as a NAR, from a file and from standard input', async t => {
  const folder = join(work, 'as-nar')
  sampleTree(folder)
  const dump = await output('nix-store', ['--dump', folder])
  const file = join(work, 'as.nar')
  writeFileSync(file, dump)
  const fromFolder = await addOne(newState(t), [folder])
  const state = newState(t)
  const fromNar = await addOne(state, ['--nar', file, '--name', 'as-nar'])
  assert.deepEqual(fromNar, fromFolder)
  const fromInput = await addOne(state, ['--nar', '-', '--name', 'as-nar'], { input: dump })
  assert.deepEqual(fromInput, { ...fromFolder, new: false })
  const info = await infoOne(state, fromNar.path)
  assert.equal(info.trust, 'content')
  assert.deepEqual(await done(['nar', '--state', state, fromNar.path]), dump)
})

test('several paths give a line each, in their order, also where one comes twice', async t => {
  const state = newState(t)
  const files = ['b', 'a', 'c'].map(name => join(work, name))
  for (const file of files) writeFileSync(file, file)
  const stdout = await done(['add', '--json', '--state', state, ...files, files[0]!])
  const lines = jsonLines<AddedLine>(stdout)
  assert.deepEqual(
    lines.map(line => line.path.slice(44)),
    ['b', 'a', 'c', 'b'],
  )
  assert.deepEqual(
    lines.map(line => line.new),
    [true, true, true, false],
  )
  assert.equal((await known(state)).length, 3)
})

test('what comes before a failure is added, and what comes after is not', async t => {
  const state = newState(t)
  const [good, bad, late] = ['good', 'bad', 'late'].map(name => join(work, `failure-${name}`)) as [
    string,
    string,
    string,
  ]
  writeFileSync(good, 'good')
  mkdirSync(bad)
  await output('mkfifo', [join(bad, 'pipe')])
  writeFileSync(late, 'late')
  const result = await cli(['add', '--state', state, good, bad, late])
  assert.equal(result.code, 1)
  assert.match(result.stderr, /^nix-ipfs-mount: [^\n]*failure-bad\/pipe[^\n]*\n$/)
  assert.match(result.stdout.toString(), /^\/nix\/store\/[^\n]*-failure-good\n$/)
  assert.deepEqual(
    (await known(state)).map(name => name.slice(33)),
    ['failure-good'],
  )
})

test('pins what it adds unless told otherwise', async t => {
  const state = newState(t)
  const file = join(work, 'pinned')
  writeFileSync(file, 'p')
  const pinned = await addOne(state, [file])
  const loose = await addOne(state, [file, '--name', 'loose', '--no-pin'])
  assert.equal((await infoOne(state, pinned.path)).pinned, true)
  assert.equal((await infoOne(state, loose.path)).pinned, false)
  // Added again, this time to be kept.
  assert.equal((await addOne(state, [file, '--name', 'loose'])).new, false)
  assert.equal((await infoOne(state, loose.path)).pinned, true)
})

test('files and folders are added where there is no Nix, and store paths are not', async t => {
  const state = newState(t)
  const env = { PATH: '/nonexistent' }
  const file = join(work, 'without-nix')
  writeFileSync(file, 'no Nix needed')
  assert.equal((await addOne(state, [file], { env })).path, await nix.addPath(file, 'without-nix'))
  const path = `/nix/store/${'0'.repeat(32)}-needs-nix`
  assertFailed(await cli(['add', '--state', state, path], { env }), ['nix-bin'])
})

test('a name that begins with a dash comes after --', async t => {
  const state = newState(t)
  const file = join(work, '-dash')
  writeFileSync(file, 'a dash')
  const path = await nix.addPath(file, '-dash')
  assert.equal(await doneText(['add', '--state', state, '--', '-dash'], { cwd: work }), `${path}\n`)
})

test('an empty argument is not the current folder', async t => {
  const state = newState(t)
  const result = await cli(['add', '--state', state, ''], { cwd: work })
  assertFailed(result, [], 2)
  assert.deepEqual(await known(state), [])
})
