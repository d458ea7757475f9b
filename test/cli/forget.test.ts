import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import { nixStore, sampleClosure } from '../helpers/nix.ts'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import {
  addOne,
  assertFailed,
  done,
  doneText,
  infoOne,
  known,
  newState,
  sampleTree,
  storedNar,
  succeeded,
} from './support.ts'

const scope = { after }
const work = tempFolder(scope)
const nix = nixStore(scope)
let sample: string

before(async () => {
  sample = (await nix.build(sampleClosure))[0]!
})

test('forget removes a path by full path, base name or hash part, and add brings it back', async t => {
  const state = newState(t)
  const tree = join(work, 'tree')
  mkdirSync(tree)
  sampleTree(tree)
  const dump = await output('nix-store', ['--dump', tree])
  const added = await addOne(state, [tree])
  const baseName = basename(added.path)
  for (const spelling of [added.path, baseName, baseName.slice(0, 32)]) {
    assert.equal(await doneText(['forget', '--state', state, spelling]), `${added.path}\n`)
    assert.deepEqual(await known(state), [])
    assert.deepEqual(await addOne(state, [tree]), added)
    assert.ok((await storedNar(state, added.path)).equals(dump))
  }
  assert.equal((await infoOne(state, added.path)).pinned, true)
})

test('a forgotten path is unknown', async t => {
  const state = newState(t)
  const file = join(work, 'forgotten')
  writeFileSync(file, 'forgotten')
  const { path } = await addOne(state, [file])
  await done(['forget', '--state', state, path])
  for (const command of ['info', 'cat', 'forget']) assertFailed(await cli([command, '--state', state, path]), [path])
})

test('forget --json prints the path', async t => {
  const state = newState(t)
  const files = ['one', 'two'].map(name => join(work, name))
  for (const file of files) writeFileSync(file, file)
  const paths = [(await addOne(state, [files[0]!])).path, (await addOne(state, [files[1]!])).path]
  const stdout = await doneText(['forget', '--json', '--state', state, ...paths])
  assert.equal(stdout, paths.map(path => `${JSON.stringify({ path })}\n`).join(''))
})

test('forget of several forgets none where one is unknown', async t => {
  const state = newState(t)
  const file = join(work, 'kept')
  writeFileSync(file, 'kept')
  const { path } = await addOne(state, [file])
  const unknown = `/nix/store/${'b'.repeat(32)}-unknown`
  assertFailed(await cli(['forget', '--state', state, path, unknown]), [unknown])
  assert.deepEqual(await known(state), [basename(path)])
})

test('forget refuses what another path refers to, unless that goes too or --force is given', async t => {
  const state = newState(t)
  succeeded(await nix.cli(['add', '--closure', '--state', state, sample]))
  const dependency = (await infoOne(state, sample)).references.find(path => path !== sample)!
  const both = [basename(sample), basename(dependency)].sort()
  assertFailed(await cli(['forget', '--state', state, dependency]), [dependency, sample, '--force'])
  assert.deepEqual(await known(state), both)
  assert.equal(await doneText(['forget', '--force', '--state', state, dependency]), `${dependency}\n`)
  assert.deepEqual(await known(state), [basename(sample)])
  succeeded(await nix.cli(['add', '--closure', '--state', state, sample]))
  assert.deepEqual(await known(state), both)
  await done(['forget', '--state', state, dependency, sample])
  assert.deepEqual(await known(state), [])
})

test('a path that refers to itself alone can be forgotten', async t => {
  const state = newState(t)
  succeeded(await nix.cli(['add', '--state', state, sample]))
  assert.ok((await infoOne(state, sample)).references.includes(sample))
  assert.equal(await doneText(['forget', '--state', state, sample]), `${sample}\n`)
})

test('what shares its contents with a forgotten path stays whole', async t => {
  const state = newState(t)
  const tree = join(work, 'shared')
  mkdirSync(tree)
  sampleTree(tree)
  const first = await addOne(state, [tree])
  const second = await addOne(state, [tree, '--name', 'second'])
  await done(['forget', '--state', state, first.path])
  const dump = await output('nix-store', ['--dump', tree])
  assert.ok((await storedNar(state, second.path)).equals(dump))
})
