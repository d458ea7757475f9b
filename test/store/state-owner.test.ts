import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { StateError } from '../../src/errors.ts'
import { openStateFolder } from '../../src/store/state.ts'
import { giveStateTo } from '../../src/store/state-owner.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { output, stopProcess } from '../helpers/run.ts'
import { tempFolder, unmountLazily } from '../helpers/temp.ts'

const owner = { name: 'somebody', uid: 61_234, gid: 61_235 }
const root = { name: 'root', uid: 0, gid: 0 }

/** A state of root's with a file in each of its folders. */
function rootsState(t: TestContext): string {
  const state = join(tempFolder(t), 'state')
  openStateFolder(state, undefined)
  for (const file of ['index/data.mdb', 'packs/1.pack', 'secret-key']) writeFileSync(join(state, file), 'x')
  chmodSync(join(state, 'secret-key'), 0o600)
  return state
}

/** `uid:gid` of everything in a folder, itself included, by path; links are not followed. */
function owners(folder: string): Record<string, string> {
  const paths = ['', ...readdirSync(folder, { recursive: true, encoding: 'utf8' })]
  return Object.fromEntries(
    paths.map(path => {
      const { uid, gid } = lstatSync(join(folder, path))
      return [path, `${uid}:${gid}`]
    }),
  )
}

function assertAll(folder: string, expected: string): void {
  const found = owners(folder)
  assert.deepEqual(found, Object.fromEntries(Object.keys(found).map(path => [path, expected])))
}

function assertRefused(state: string, ...says: string[]): void {
  assert.throws(
    () => giveStateTo(owner, state),
    (error: unknown) => {
      assert.ok(error instanceof StateError)
      for (const part of says) assert.ok(error.message.includes(part), `${error.message} says ${part}`)
      return !error.message.includes('\n')
    },
  )
}

test('a missing state folder is made for its owner, and the folders above it for root', t => {
  const folder = tempFolder(t)
  const state = join(folder, 'a', 'b', 'state')
  assert.equal(giveStateTo(owner, state), false)
  assert.deepEqual(owners(join(folder, 'a')), { '': '0:0', b: '0:0', 'b/state': '61234:61235' })
  assert.equal(giveStateTo(owner, state), false)
})

test("an empty folder of root's becomes the owner's", t => {
  const state = tempFolder(t)
  assert.equal(giveStateTo(owner, state), false)
  assertAll(state, '61234:61235')
})

test("a state of root's is handed over whole, once, and modes stay", t => {
  const state = rootsState(t)
  assert.equal(giveStateTo(owner, state), true)
  assertAll(state, '61234:61235')
  assert.equal(lstatSync(join(state, 'secret-key')).mode & 0o7777, 0o600)
  assert.equal(giveStateTo(owner, state), false)
})

test('a handing over that was cut short is done to its end', t => {
  const state = rootsState(t)
  for (const path of ['index', 'index/data.mdb', 'format']) chownSync(join(state, path), owner.uid, owner.gid)
  assert.equal(giveStateTo(owner, state), true)
  assertAll(state, '61234:61235')
})

test('to root nothing is given and nothing made', t => {
  const state = rootsState(t)
  assert.equal(giveStateTo(root, state), false)
  assertAll(state, '0:0')
  const missing = join(dirname(state), 'missing')
  assert.equal(giveStateTo(root, missing), false)
  assert.deepEqual(readdirSync(dirname(state)), ['state'])
})

test("what is neither root's nor the owner's is refused", t => {
  const state = rootsState(t)
  chownSync(state, 1234, 1234)
  assertRefused(state, state, 'belongs to user id 1234', 'somebody', '--user 1234')
  assert.throws(() => giveStateTo(root, state), /belongs to user id 1234, not to root/)
  assert.equal(owners(state).format, '0:0')
})

test('a folder that holds other things is refused and left alone', t => {
  const folder = tempFolder(t)
  writeFileSync(join(folder, 'something'), '')
  assertRefused(folder, folder, 'something', 'not a state folder')
  assertAll(folder, '0:0')
})

test('a folder that others may write into is refused', t => {
  for (const [mode, group] of [
    [0o777, 0],
    [0o1777, 0],
    [0o775, 1234],
  ] as const) {
    const state = tempFolder(t)
    chownSync(state, 0, group)
    chmodSync(state, mode)
    assertRefused(state, state, 'others may write', 'chmod go-w')
    assertAll(state, `0:${group}`)
  }
})

test('nothing is made or handed over where others could put something else in its place', t => {
  const unsafe: [uid: number, gid: number, mode: number][] = [
    [1234, 0, 0o755],
    [owner.uid, owner.gid, 0o755],
    [0, 0, 0o777],
    [0, 1234, 0o775],
  ]
  for (const [uid, gid, mode] of unsafe) {
    const folder = tempFolder(t)
    mkdirSync(join(folder, 'below'))
    chownSync(folder, uid, gid)
    chmodSync(folder, mode)
    const missing = join(folder, 'below', 'missing')
    assertRefused(missing, missing, `others may write to ${folder}`)
    assert.deepEqual(readdirSync(join(folder, 'below')), [])
    // Neither through a link from there, nor through a link to there.
    const [there, here] = [rootsState(t), tempFolder(t)]
    symlinkSync(there, join(folder, 'link'))
    symlinkSync(join(folder, 'below'), join(here, 'link'))
    for (const link of [join(folder, 'link'), join(here, 'link')]) {
      assertRefused(link, link, `others may write to ${folder}`)
    }
    assertAll(there, '0:0')
  }
})

test('a sticky folder, as /tmp, is safe, and so is a link of root to a state', t => {
  const folder = tempFolder(t)
  chmodSync(folder, 0o1777)
  const state = join(folder, 'state')
  symlinkSync(rootsState(t), state)
  assert.equal(giveStateTo(owner, state), true)
  assertAll(realpathSync(state), '61234:61235')
  assert.equal(giveStateTo(owner, join(folder, 'other')), false)
  assertAll(join(folder, 'other'), '61234:61235')
})

test('nothing outside the folder changes hands, and nothing at all where something in it is suspicious', async t => {
  const outside = tempFolder(t)
  const precious = join(outside, 'precious')
  writeFileSync(precious, 'x')
  mkdirSync(join(outside, 'folder'))
  const suspicious: [name: string, make: (path: string) => unknown, says: string][] = [
    ['link to a file', path => symlinkSync(precious, path), 'neither a file nor a folder'],
    ['link to a folder', path => symlinkSync(join(outside, 'folder'), path), 'neither a file nor a folder'],
    ['hard link', path => linkSync(precious, path), 'hard link'],
    ['fifo', path => execFileSync('mkfifo', [path]), 'neither a file nor a folder'],
    ['device', path => execFileSync('mknod', [path, 'c', '1', '3']), 'neither a file nor a folder'],
    [
      'of another user',
      path => {
        writeFileSync(path, 'x')
        chownSync(path, 1234, 1234)
      },
      'belongs to user id 1234',
    ],
  ]
  for (const folder of ['', 'packs']) {
    const state = rootsState(t)
    for (const [name, make, says] of suspicious) {
      const path = join(state, folder, name)
      make(path)
      assertRefused(state, path, says)
      rmSync(path)
      assertAll(state, '0:0')
    }
    assertAll(outside, '0:0')
    assert.equal(giveStateTo(owner, state), true)
  }
})

test("an enemy who owns a part of it already, and changes that all the time, gets nothing of root's", t => {
  const state = rootsState(t)
  const outside = tempFolder(t)
  writeFileSync(join(outside, 'precious'), 'x')
  const packs = join(state, 'packs')
  chownSync(packs, owner.uid, owner.gid)
  const script = `while :; do
    ln -s "$1/precious" link; mv -T link file; : > other; mv -T other file
    mkdir folder; : > folder/precious; rm -r folder; ln -s "$1" folder; rm folder
  done`
  const enemy = spawn('sh', ['-c', script, 'sh', outside], { cwd: packs, uid: owner.uid, gid: owner.gid })
  onCleanup(t, () => stopProcess(enemy, 'SIGKILL'))
  const outcomes = { given: 0, refused: 0 }
  // Until both have happened, so that the enemy surely was at work.
  for (let round = 0; round < 1000 || (round < 100_000 && Object.values(outcomes).includes(0)); round++) {
    try {
      giveStateTo(owner, state)
      outcomes.given++
    } catch (error) {
      assert.ok(error instanceof StateError)
      outcomes.refused++
    }
    chownSync(state, 0, 0)
  }
  assert.ok(outcomes.given > 0 && outcomes.refused > 0, JSON.stringify(outcomes))
  assertAll(outside, '0:0')
})

test('a folder of the state that is replaced by a link is refused', t => {
  const state = rootsState(t)
  const elsewhere = join(dirname(state), 'elsewhere')
  renameSync(join(state, 'packs'), elsewhere)
  symlinkSync(elsewhere, join(state, 'packs'))
  assertRefused(state, join(state, 'packs'))
  assertAll(elsewhere, '0:0')
})

test('another filesystem in it is not entered', async t => {
  const state = rootsState(t)
  const packs = join(state, 'packs')
  await output('mount', ['-t', 'tmpfs', 'none', packs])
  onCleanup(t, () => unmountLazily(packs))
  assertRefused(state, packs, 'another filesystem')
  assertAll(packs, '0:0')
})

test('a state on a read-only filesystem stays as it is, for those who read', async t => {
  const state = rootsState(t)
  await output('mount', ['--bind', state, state])
  onCleanup(t, () => unmountLazily(state))
  await output('mount', ['-o', 'remount,bind,ro', state])
  assert.equal(giveStateTo(owner, state), false)
  assertAll(state, '0:0')
})
