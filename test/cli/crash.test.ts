import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { cidText } from '../../src/cid.ts'
import { type KuboDaemon, kuboDaemon } from '../helpers/kubo-daemon.ts'
import { tempInMemory } from '../helpers/mount-fixture.ts'
import { seededRandom } from '../helpers/random-tree.ts'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { killedAddTests } from '../suites/killed-add.ts'
import { suiteScope } from '../suites/mount.ts'
import { directory, entry, file, nar } from './nar-wire.ts'
import { start } from './processes.ts'
import {
  type AddedLine,
  addOne,
  assertFailed,
  known,
  newState,
  packSizes,
  patterned,
  sampleTree,
  storedNar,
  succeeded,
} from './support.ts'

// What is left of an `add` that was killed, interrupted, or not alone: all of a path, or nothing.

const FILES = 2500
const SEED = 20261123

const scope = { after }
const work = tempFolder(scope)
const tree = join(work, 'many')
let dump: Buffer
/** Milliseconds that an undisturbed add takes here. */
let duration: number
let expected: AddedLine
const random = seededRandom(SEED)

before(async () => {
  for (let i = 0; i < FILES; i++) {
    const folder = join(tree, `${i % 40}`)
    if (i < 40) mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, `file-${i}`), `contents of file ${i}\n`.repeat(1 + (i % 90)))
  }
  writeFileSync(join(tree, 'large'), patterned(8 * 1024 * 1024))
  dump = await output('nix-store', ['--dump', tree])
  const begin = Date.now()
  expected = await addOne(newState(scope), [tree])
  duration = Date.now() - begin
})

describe('kill -9 of an add to packs', () => {
  killedAddTests(suiteScope(), { blocks: () => 'local', files: 600 })
})

describe('kill -9 of an add to Kubo', () => {
  const scope = suiteScope()
  let kubo: KuboDaemon
  before(async () => {
    await tempInMemory(scope)
    kubo = await kuboDaemon(scope)
  })
  const pins = () => {
    const lines = kubo.ipfs(['pin', 'ls', '--names', '--type', 'recursive']).toString().trim().split('\n')
    return lines.filter(line => line !== '').sort()
  }
  killedAddTests(scope, {
    blocks: () => `kubo:${kubo.rpc}`,
    // Each block that is checked is a request.
    files: 60,
    // What the killed one had pinned is taken over, and nothing else is pinned.
    check: ({ baseName, root, nar }) =>
      assert.deepEqual(pins(), [root, nar!].map(cid => `${cidText(cid)} recursive nix-ipfs-mount:${baseName}`).sort()),
    clear: () => {
      for (const line of pins()) kubo.ipfs(['pin', 'rm', line.split(' ')[0]!])
      kubo.ipfs(['repo', 'gc', '--quiet'])
    },
  })
})

/** The path is there and whole, or not there; another add makes it whole. */
async function wholeOrAbsent(state: string): Promise<void> {
  const names = await known(state)
  const present = names.length > 0
  if (present) {
    assert.deepEqual(names, [basename(expected.path)])
    assert.ok((await storedNar(state, expected.path)).equals(dump))
  }
  assert.deepEqual(await addOne(state, [tree]), { ...expected, new: !present })
  assert.ok((await storedNar(state, expected.path)).equals(dump))
}

test('kill -9 of many adds, one after the other on one state', async t => {
  const state = newState(t)
  for (let kill = 0; kill < 4; kill++) {
    const { child, ended } = start(t, ['add', '--state', state, tree])
    await sleep(duration * (0.3 + 0.7 * random()))
    child.kill('SIGKILL')
    await ended
  }
  await wholeOrAbsent(state)
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
  test(`${signal} in the middle of an add ends it and leaves nothing visible`, async t => {
    const state = newState(t)
    const kept = await addOne(state, ['--nar', '-', '--name', 'kept'], { input: nar(...file('kept')) })
    const before = packSizes(state)
    const bytes = nar(...directory(entry('a', file('a'.repeat(24 * 1024 * 1024))), entry('b', file('b'))))
    const { child, ended } = start(t, ['add', '--state', state, '--nar', '-', '--name', 'stopped'])
    child.stdin.write(bytes.subarray(0, bytes.length - 100))
    // Once it waits for the rest, it has written some of the blocks.
    await until('the pipe is empty', () => child.stdin.writableLength === 0)
    await sleep(100)
    child.kill(signal)
    const result = await ended
    assert.equal(result.stdout.length, 0)
    assert.equal(result.stderr, '')
    assert.ok(result.signal === signal || result.code === 1, `${result.signal} ${result.code}`)
    assert.deepEqual(await known(state), [basename(kept.path)])
    const again = await addOne(state, ['--nar', '-', '--name', 'stopped'], { input: bytes })
    assert.equal(again.new, true)
    assert.ok((await storedNar(state, again.path)).equals(bytes))
    assert.ok(Object.keys(packSizes(state)).length >= Object.keys(before).length)
  })
}

test('an input that ends too early leaves nothing visible', async t => {
  const state = newState(t)
  const { child, ended } = start(t, ['add', '--state', state, '--nar', '-', '--name', 'early'])
  child.stdin.end(dump.subarray(0, dump.length / 2))
  assertFailed(await ended, ['NAR'])
  assert.deepEqual(await known(state), [])
})

test('adds of the same tree at once all succeed, and one of them is new', async t => {
  const state = newState(t)
  const results = await Promise.all([1, 2, 3].map(() => cli(['add', '--json', '--state', state, tree])))
  const lines: AddedLine[] = results.map(result => JSON.parse(succeeded(result).toString()))
  for (const line of lines) assert.deepEqual({ ...line, new: true }, expected)
  assert.equal(lines.filter(line => line.new).length, 1)
  assert.ok((await storedNar(state, expected.path)).equals(dump))
})

test('adds of different trees at once all succeed', async t => {
  const state = newState(t)
  const trees = ['one', 'two', 'three'].map(name => join(tempFolder(t), name))
  for (const folder of trees) {
    sampleTree(folder)
    // Half of it is the same in all: they race for the same blocks.
    for (let i = 0; i < 300; i++) writeFileSync(join(folder, `file-${i}`), `${i % 2 ? folder : 'same'} ${i}`)
  }
  const results = await Promise.all([...trees, tree].map(folder => cli(['add', '--json', '--state', state, folder])))
  for (const [i, folder] of [...trees, tree].entries()) {
    const line: AddedLine = JSON.parse(succeeded(results[i]!).toString())
    assert.equal(line.new, true)
    assert.ok((await storedNar(state, line.path)).equals(await output('nix-store', ['--dump', folder])))
  }
  assert.equal((await known(state)).length, 4)
})

test('adding while another forgets the same leaves it there whole, or not at all', async t => {
  const state = newState(t)
  const folder = join(tempFolder(t), 'contended')
  sampleTree(folder)
  const { path } = await addOne(state, [folder])
  for (let round = 0; round < 3; round++) {
    const [forgot, addedAgain] = await Promise.all([
      cli(['forget', '--state', state, path]),
      cli(['add', '--state', state, folder]),
    ])
    assert.ok(forgot.code === 0 || forgot.stderr.includes('not known'), forgot.stderr)
    succeeded(addedAgain)
    const names = await known(state)
    if (names.length > 0) {
      const whole = await output('nix-store', ['--dump', folder])
      assert.ok((await storedNar(state, path)).equals(whole))
    }
    await addOne(state, [folder])
  }
})
