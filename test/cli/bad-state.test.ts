import assert from 'node:assert/strict'
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { cleanSettings, cli, cliProgram, output, type RunResult, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { smallDisk } from '../helpers/tmpfs.ts'
import {
  type AddedLine,
  addOne,
  assertFailed,
  done,
  infoOne,
  known,
  newState,
  patterned,
  sampleTree,
  storedNar,
} from './support.ts'
import { unprivileged } from './unprivileged.ts'

// State folders that cannot be used, and what becomes of one that is damaged or full.

const scope = { after }
const work = tempFolder(scope)
const tree = join(work, 'tree')
/** A state with one path, to be copied. */
const sample = newState(scope)
let added: AddedLine
let dump: Buffer

before(async () => {
  sampleTree(tree)
  added = await addOne(sample, [tree])
  dump = await output('nix-store', ['--dump', tree])
})

/** Commands that write to a state, and one that only reads. */
function commandsFor(state: string): string[][] {
  return [
    ['add', '--state', state, join(tree, 'hello.txt')],
    ['forget', '--state', state, added.path],
    ['nar', '--state', state, added.path],
  ]
}

function copyOfSample(t: Parameters<typeof tempFolder>[0]): string {
  const state = newState(t)
  cpSync(sample, state, { recursive: true })
  return state
}

test('a state is made where there is none, with the folders above it', async t => {
  const state = join(newState(t), 'deeper', 'state')
  assert.equal((await done(['ls', '--state', state])).length, 0)
  const empty = tempFolder(t)
  assert.equal((await addOne(empty, [tree])).new, true)
  assert.deepEqual(await known(empty), [basename(added.path)])
})

test('one state is made where several processes begin at once', async t => {
  const state = newState(t)
  const results = await Promise.all(
    Array.from({ length: 4 }, (_, i) => cli(['add', '--json', '--state', state, tree, '--name', `tree-${i}`])),
  )
  for (const result of results) {
    assert.equal(result.stderr, '')
    assert.equal(result.code, 0)
  }
  assert.equal((await known(state)).length, 4)
})

test('a state may be named by a relative path and through a symlink', async t => {
  const state = copyOfSample(t)
  const link = join(tempFolder(t), 'link')
  symlinkSync(state, link)
  assert.deepEqual(await known(link), [basename(added.path)])
  const result = await cli(['ls', '--state', 'state'], { cwd: dirname(state) })
  assert.equal(result.stdout.toString(), `${basename(added.path)}\n`)
})

test('a folder with other things is not taken', async t => {
  const folder = tempFolder(t)
  writeFileSync(join(folder, 'letter.txt'), 'dear reader')
  for (const command of commandsFor(folder)) assertFailed(await cli(command), [folder, 'letter.txt'])
  assert.equal(await output('ls', ['-A', folder]).then(String), 'letter.txt\n')
})

test('a file or a device instead of a folder is refused', async t => {
  const file = join(tempFolder(t), 'file')
  writeFileSync(file, 'x')
  for (const state of [file, join(file, 'below'), '/dev/null']) {
    for (const command of commandsFor(state)) assertFailed(await cli(command), [state])
  }
  assert.equal(readFileSync(file, 'utf8'), 'x')
})

test('a state of a newer version is refused and left alone', async t => {
  const state = copyOfSample(t)
  const format = join(state, 'format')
  const text = readFileSync(format, 'utf8')
  writeFileSync(format, JSON.stringify({ ...JSON.parse(text), version: 2 }))
  for (const command of commandsFor(state)) assertFailed(await cli(command), [state, 'newer'])
  writeFileSync(format, text)
  assert.deepEqual(await known(state), [basename(added.path)])
})

test('a format file that is not ours is refused', async t => {
  const state = copyOfSample(t)
  for (const text of [
    '',
    'something else',
    '{}',
    '[]',
    'null',
    '{"format": "other", "version": 1, "blocks": "local"}',
  ]) {
    writeFileSync(join(state, 'format'), text)
    assertFailed(await cli(['ls', '--state', state]), [state])
  }
})

/** Runs the program where the folder is mounted read-only. */
function onReadOnly(folder: string, args: readonly string[]): Promise<RunResult> {
  const script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
  const command = ['-m', 'sh', '-c', script, folder, process.execPath, cliProgram, ...args]
  return run('unshare', command, { env: cleanSettings() })
}

test('on a read-only state reading works, and writing is refused', async t => {
  const state = copyOfSample(t)
  const file = join(tree, 'hello.txt')
  assertFailed(await onReadOnly(state, ['add', '--state', state, file]), [state, /EROFS|read-only/i])
  assertFailed(await onReadOnly(state, ['forget', '--state', state, added.path]), [state, /EROFS|read-only/i])
  const nar = await onReadOnly(state, ['nar', '--state', state, added.path])
  assert.equal(nar.stderr, '')
  assert.ok(nar.stdout.equals(dump))
  assert.equal((await onReadOnly(state, ['ls', '--state', state])).stdout.toString(), `${basename(added.path)}\n`)
  assert.equal((await addOne(state, [file])).new, true)
})

test('a state cannot be made on a read-only file system', async t => {
  const folder = tempFolder(t)
  const state = join(folder, 'state')
  for (const command of commandsFor(state)) assertFailed(await onReadOnly(folder, command), [state, 'EROFS'])
})

test("another user's state can be read, not written, and without any right not even that", async t => {
  const user = await unprivileged(t)
  const state = copyOfSample(t)
  const file = join(user.home, 'file')
  writeFileSync(file, 'x')
  chmodSync(file, 0o644)
  assertFailed(await user.cli(['add', '--state', state, file]), [state])
  assertFailed(await user.cli(['forget', '--state', state, added.path]), [state])
  const nar = await user.cli(['nar', '--state', state, added.path])
  assert.equal(nar.stderr, '')
  assert.ok(nar.stdout.equals(dump))
  chmodSync(state, 0o700)
  for (const command of ['ls', 'add']) {
    assertFailed(await user.cli([command, '--state', state, ...(command === 'add' ? [file] : [])]), [state, 'EACCES'])
  }
  assert.deepEqual(await known(state), [basename(added.path)])
})

test('a full state refuses in one line, shows nothing of it, and works on', async t => {
  const disk = await smallDisk(t, '6m')
  const state = join(disk, 'state')
  const first = await addOne(state, [tree])
  const large = join(work, 'large')
  mkdirSync(large)
  writeFileSync(join(large, 'a-small-one'), 'small')
  writeFileSync(join(large, 'large'), patterned(20 * 1024 * 1024))
  assertFailed(await cli(['add', '--state', state, large]), [state, 'no space'])
  assert.deepEqual(await known(state), [basename(first.path)])
  assert.ok((await storedNar(state, first.path)).equals(dump))
  assert.equal((await addOne(state, [tree])).new, false)
  // With room again the same is added.
  await output('mount', ['-o', 'remount,size=64m', disk])
  const added = await addOne(state, [large])
  assert.equal(added.new, true)
  const largeDump = await output('nix-store', ['--dump', large])
  assert.ok((await storedNar(state, added.path)).equals(largeDump))
})

test('with not a byte of room left reading works, adding is refused, forgetting too or it works', async t => {
  const disk = await smallDisk(t, '6m')
  const state = join(disk, 'state')
  await addOne(state, [tree])
  const filler = join(disk, 'filler')
  await run('sh', ['-c', 'dd if=/dev/zero of="$0" bs=4k', filler])
  const file = join(tree, 'hello.txt')
  assertFailed(await cli(['add', '--state', state, file, '--name', 'other']), [state, 'no space'])
  assert.ok((await storedNar(state, added.path)).equals(dump))
  const forgot = await cli(['forget', '--state', state, added.path])
  if (forgot.code !== 0) assertFailed(forgot, [state, 'no space'])
  assert.deepEqual(await known(state), forgot.code === 0 ? [] : [basename(added.path)])
  rmSync(filler)
  assert.equal((await addOne(state, [file, '--name', 'other'])).new, true)
  assert.equal((await addOne(state, [tree])).new, forgot.code === 0)
})

for (const size of ['4k', '12k', '16k', '40k', '200k']) {
  test(`a state cannot be made in ${size}, and that is said in one line`, async t => {
    const state = join(await smallDisk(t, size), 'state')
    assertFailed(await cli(['add', '--state', state, tree]), [state])
  })
}

test('results that cannot be written are a failure in one line', async () => {
  const script = 'exec "$0" "$@" > /dev/full'
  for (const command of [
    ['ls', '--state', sample],
    ['nar', '--state', sample, added.path],
  ]) {
    const args = ['-c', script, process.execPath, cliProgram, ...command]
    assertFailed(await run('sh', args, { env: cleanSettings() }), ['ENOSPC'])
  }
})

test('a flipped bit in a pack is a failure, never a wrong byte', async t => {
  const state = copyOfSample(t)
  const contents = readFileSync(join(tree, 'sub', 'large'))
  const pack = await packHolding(state, contents.subarray(0, 4096))
  const bytes = readFileSync(pack)
  // Within the file's second chunk: its only byte that is not zero for 4 KiB around.
  const at = bytes.indexOf(contents.subarray(0, 4096)) + 1024 * 1024 + 5000
  bytes[at]! ^= 0x10
  chmodSync(pack, 0o644)
  writeFileSync(pack, bytes)
  for (const command of [
    ['cat', '--state', state, `${added.path}/sub/large`],
    ['nar', '--state', state, added.path],
  ]) {
    const result = await cli(command)
    assert.equal(result.code, 1)
    assert.match(result.stderr, /^nix-ipfs-mount: [^\n]+\n$/)
    const right = command[0] === 'cat' ? contents : dump
    assert.ok(result.stdout.equals(right.subarray(0, result.stdout.length)), 'what came out is a true beginning')
    assert.ok(result.stdout.length < right.length)
  }
  // What lies elsewhere is not affected.
  assert.equal((await done(['cat', '--state', state, `${added.path}/hello.txt`])).toString(), 'hello\n')
})

test('a pack that is gone is a failure in one line', async t => {
  const state = copyOfSample(t)
  rmSync(await packHolding(state, readFileSync(join(tree, 'sub', 'large')).subarray(0, 4096)))
  const result = await cli(['cat', '--state', state, `${added.path}/sub/large`])
  assertFailed(result, [])
  assert.equal((await infoOne(state, added.path)).path, added.path)
})

async function packHolding(state: string, bytes: Buffer): Promise<string> {
  const names = (await output('find', [join(state, 'packs'), '-type', 'f'])).toString().trim().split('\n')
  const found = names.find(name => readFileSync(name).includes(bytes))
  assert.ok(found, 'a pack holds the file as it is')
  return found
}
