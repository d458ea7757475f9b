import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import { onCleanup, type TestScope } from '../helpers/cleanup.ts'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { nested } from './nar-wire.ts'
import { hasOpen, makeNested, start } from './processes.ts'
import { type AddedLine, addOne, assertFailed, known, newState, sampleTree, storedNar } from './support.ts'
import { unprivileged } from './unprivileged.ts'

// Folders that cannot be store paths, or that cannot be read: one line, nothing visible, nothing else harmed.

const scope = { after }
const state = newState(scope)
const good = join(tempFolder(scope), 'good')
let kept: AddedLine

before(async () => {
  sampleTree(good)
  kept = await addOne(state, [good])
})

async function refused(path: string, ...says: string[]): Promise<void> {
  assertFailed(await cli(['add', '--state', state, path]), says)
  assert.deepEqual(await known(state), [basename(kept.path)])
}

/** A fresh copy of the good tree, to be spoiled. */
function copyOfGood(t: TestScope): string {
  const folder = join(tempFolder(t), 'spoiled')
  cpSync(good, folder, { recursive: true, verbatimSymlinks: true })
  return folder
}

/** A folder whose removal takes more than paths. */
function deepFolder(t: TestScope): string {
  const folder = tempFolder(t)
  onCleanup(t, () => output('sh', ['-c', 'rm -rf "$0"/*', folder]))
  return folder
}

const special: Record<string, (t: TestScope, path: string) => Promise<unknown>> = {
  fifo: (_, path) => output('mkfifo', [path]),
  socket: async (t, path) => {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(path, resolve))
    onCleanup(t, () => new Promise(resolve => server.close(resolve)))
  },
  'character device': (_, path) => output('mknod', [path, 'c', '1', '3']),
  'block device': (_, path) => output('mknod', [path, 'b', '7', '200']),
}

for (const [kind, make] of Object.entries(special)) {
  test(`a ${kind} is refused, in a tree and alone`, async t => {
    const folder = copyOfGood(t)
    const path = join(folder, 'sub', 'special')
    await make(t, path)
    const word = kind.split(' ').at(-1)!
    await refused(folder, path, word)
    await refused(path, path, word)
  })
}

test('a path that does not exist is refused, and so is one below a file', async () => {
  await refused(`${good}/absent`, `${good}/absent`)
  await refused(`${good}/hello.txt/below`, `${good}/hello.txt/below`)
})

test('a file that grows while it is read is refused', async t => {
  const folder = copyOfGood(t)
  const path = join(folder, 'growing')
  writeFileSync(path, '')
  truncateSync(path, 400 * 1024 * 1024)
  const timer = setInterval(() => appendFileSync(path, 'more'), 1)
  onCleanup(t, () => clearInterval(timer))
  await refused(folder, path, 'changed')
  clearInterval(timer)
  truncateSync(path, 5)
  assert.equal((await addOne(newState(t), [folder])).new, true)
})

test('a file with less in it than its size says is refused', async () => {
  // sysfs gives every attribute the size of a page.
  const file = '/sys/kernel/mm/transparent_hugepage/enabled'
  assert.ok(statSync(file).size > readFileSync(file).length)
  await refused(file, file, 'changed')
})

test('a file that vanishes while its folder is read is refused', async t => {
  const folder = copyOfGood(t)
  const large = join(folder, 'a-large-file-read-first')
  writeFileSync(large, '')
  truncateSync(large, 400 * 1024 * 1024)
  const late = join(folder, 'z-late')
  writeFileSync(late, 'here at first')
  const { child, ended } = start(t, ['add', '--state', state, folder])
  // While the large file is open the folder has been listed, and its last file's turn is far.
  await until('the large file is read', () => hasOpen(child.pid!, large))
  rmSync(late)
  assertFailed(await ended, [late, 'vanished'])
  assert.deepEqual(await known(state), [basename(kept.path)])
})

test('what a user may not read is refused by name', async t => {
  const user = await unprivileged(t)
  const folder = join(user.home, 'mine')
  sampleTree(folder)
  const args = ['add', '--json', '--state', join(user.home, 'state'), folder]
  const secret = join(folder, 'sub', 'large')
  chmodSync(secret, 0)
  assertFailed(await user.cli(args), [secret, 'EACCES'])
  chmodSync(secret, 0o644)
  chmodSync(join(folder, 'sub'), 0)
  assertFailed(await user.cli(args), [join(folder, 'sub'), 'EACCES'])
  chmodSync(join(folder, 'sub'), 0o755)
  const result = await user.cli(args)
  assert.equal(result.stderr, '')
  const added: AddedLine = JSON.parse(result.stdout.toString())
  assert.equal(added.new, true)
  assert.equal(added.root, (await addOne(newState(t), [folder])).root)
})

test("another user's default state lies in the XDG data folder", async t => {
  const user = await unprivileged(t)
  const file = join(user.home, 'file')
  writeFileSync(file, 'x')
  chownSync(file, 65534, 65534)
  const added = (await user.cli(['add', file])).stdout.toString()
  assert.match(added, /^\/nix\/store\//)
  assert.equal(`/nix/store/${await known(join(user.home, '.local', 'share', 'nix-ipfs-mount'))}\n`, added)
  const elsewhere = join(user.home, 'elsewhere')
  const env = { XDG_DATA_HOME: elsewhere }
  assert.equal((await user.cli(['add', file], { env })).stdout.toString(), added)
  assert.deepEqual(await known(join(elsewhere, 'nix-ipfs-mount')), [basename(added.trim())])
})

test('folders 2,048 deep are added, deeper ones refused', async t => {
  const folder = deepFolder(t)
  makeNested(join(folder, 'deep'), 'd', 2048)
  const other = newState(t)
  const { path } = await addOne(other, [join(folder, 'deep')])
  assert.ok((await storedNar(other, path)).equals(nested(2048)))
  makeNested(join(folder, 'deeper'), 'd', 2049)
  await refused(join(folder, 'deeper'), '2048')
})

test('folders are read beyond the longest path that the kernel takes', async t => {
  const folder = deepFolder(t)
  const name = 'n'.repeat(200)
  makeNested(join(folder, 'long'), name, 50)
  const other = newState(t)
  const { path } = await addOne(other, [join(folder, 'long')])
  const nar = await storedNar(other, path)
  assert.ok(nar.equals(nested(50, name)))
})

test('after all that was refused the tree is still there and a good one is added', async t => {
  const folder = copyOfGood(t)
  const added = await addOne(state, [folder])
  assert.equal(added.root, kept.root)
  const dump = await output('nix-store', ['--dump', good])
  for (const { path } of [kept, added]) assert.ok((await storedNar(state, path)).equals(dump))
})
