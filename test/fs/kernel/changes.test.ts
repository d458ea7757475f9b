import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { RootChanges } from '../../../src/fs/kernel/changes.ts'
import { LmdbIndex } from '../../../src/index/lmdb.ts'
import { silentLogger } from '../../../src/log.ts'
import { onCleanup } from '../../helpers/cleanup.ts'
import { addPath, addPaths, baseNameOf, directory, file, type Tree } from '../../helpers/index-trees.ts'
import { RecordedDevice } from '../../helpers/recorded-device.ts'
import { tempFolder } from '../../helpers/temp.ts'

// What the kernel is told of the root, by what became of the index between two looks.

const [one, two, three] = [baseNameOf(1, 'one'), baseNameOf(2, 'two'), baseNameOf(3, 'three')]
const treeOf = (size: number): Tree => directory({ file: file(size) })

/** The listing of the root, which is INVAL_INODE of node 1. */
const LISTING = 'listing'

class Fixture {
  readonly index: LmdbIndex
  readonly device: RecordedDevice

  constructor(t: TestContext) {
    this.index = LmdbIndex.open(tempFolder(t, 'index'))
    onCleanup(t, () => this.index.close())
    this.device = new RecordedDevice(t)
  }

  changes({ fresh }: { fresh: boolean }): RootChanges {
    return new RootChanges({ fd: this.device.fd, index: this.index, log: silentLogger, overlays: () => [], fresh })
  }

  /** What a look tells the kernel: names that it drops, and the listing. */
  async told(changes: RootChanges): Promise<string[]> {
    this.index.refresh()
    await changes.look()
    return this.device.messages().map(describe)
  }
}

/** Notifications as the kernel takes them: struct fuse_out_header, and the struct of the code. */
function describe(message: Buffer): string {
  assert.equal(message.readBigUInt64LE(8), 0n, 'unique')
  assert.equal(message.readBigUInt64LE(16), 1n, 'the root')
  const code = message.readInt32LE(4)
  if (code === 2) return LISTING
  assert.equal(code, 3, 'INVAL_ENTRY')
  return message.toString('utf8', 32, 32 + message.readUInt32LE(24))
}

test('without a change nothing is told', async t => {
  const f = new Fixture(t)
  addPath(f.index, one, treeOf(1))
  const changes = f.changes({ fresh: true })
  for (let look = 0; look < 3; look++) assert.deepEqual(await f.told(changes), [])
})

test('paths that are added change the listing', async t => {
  const f = new Fixture(t)
  const changes = f.changes({ fresh: true })
  addPath(f.index, one, treeOf(1))
  assert.deepEqual(await f.told(changes), [LISTING])
  addPaths(f.index, [
    [two, treeOf(2)],
    [three, treeOf(3)],
  ])
  assert.deepEqual(await f.told(changes), [LISTING])
  assert.deepEqual(await f.told(changes), [])
})

test('a path that is forgotten is dropped, and once more at the next look', async t => {
  const f = new Fixture(t)
  addPaths(f.index, [
    [one, treeOf(1)],
    [two, treeOf(2)],
  ])
  const changes = f.changes({ fresh: true })
  f.index.forget(one)
  assert.deepEqual(await f.told(changes), [LISTING, one])
  assert.deepEqual(await f.told(changes), [one])
  assert.deepEqual(await f.told(changes), [])
  f.index.forget(two)
  assert.deepEqual(await f.told(changes), [LISTING, two])
  assert.deepEqual(await f.told(changes), [two])
  assert.deepEqual(await f.told(changes), [])
})

test('several that are forgotten between two looks are all dropped', async t => {
  const f = new Fixture(t)
  addPaths(f.index, [
    [one, treeOf(1)],
    [two, treeOf(2)],
    [three, treeOf(3)],
  ])
  const changes = f.changes({ fresh: true })
  for (const name of [one, three]) f.index.forget(name)
  assert.deepEqual((await f.told(changes)).sort(), [one, three, LISTING].sort())
  assert.deepEqual((await f.told(changes)).sort(), [one, three].sort())
  assert.deepEqual(await f.told(changes), [])
})

test('forgotten and added again as it was between two looks: its nodes are the same, nothing is dropped', async t => {
  const f = new Fixture(t)
  const { firstNode } = addPath(f.index, one, treeOf(1)).record
  const changes = f.changes({ fresh: true })
  f.index.forget(one)
  assert.equal(addPath(f.index, one, treeOf(1)).record.firstNode, firstNode)
  assert.deepEqual(await f.told(changes), [LISTING])
  assert.deepEqual(await f.told(changes), [])
})

test('added and forgotten between two looks: somebody may have seen it, so it is dropped', async t => {
  const f = new Fixture(t)
  const changes = f.changes({ fresh: true })
  addPath(f.index, one, treeOf(1))
  f.index.forget(one)
  assert.deepEqual(await f.told(changes), [LISTING, one])
  assert.deepEqual(await f.told(changes), [one])
})

test('known as forgotten, added again and forgotten again between two looks', async t => {
  const f = new Fixture(t)
  addPath(f.index, one, treeOf(1))
  const changes = f.changes({ fresh: true })
  f.index.forget(one)
  await f.told(changes)
  await f.told(changes)
  addPath(f.index, one, treeOf(1))
  f.index.forget(one)
  assert.deepEqual(await f.told(changes), [LISTING, one])
  assert.deepEqual(await f.told(changes), [one])
})

test('a name that changed hands is dropped', async t => {
  const f = new Fixture(t)
  const before = addPath(f.index, one, treeOf(1)).record
  const changes = f.changes({ fresh: true })
  f.index.forget(one)
  assert.notEqual(addPath(f.index, one, treeOf(100)).record.firstNode, before.firstNode)
  assert.deepEqual(await f.told(changes), [LISTING, one])
  assert.deepEqual(await f.told(changes), [one])
  // And back, which gives it new nodes once more.
  f.index.forget(one)
  addPath(f.index, one, treeOf(1))
  assert.deepEqual(await f.told(changes), [LISTING, one])
})

test('a name that changed hands, with a look between', async t => {
  const f = new Fixture(t)
  addPath(f.index, one, treeOf(1))
  const changes = f.changes({ fresh: true })
  f.index.forget(one)
  assert.deepEqual(await f.told(changes), [LISTING, one])
  addPath(f.index, one, treeOf(100))
  // The second time that it is dropped: an answer about the old one may have been on its way.
  assert.deepEqual(await f.told(changes), [one, LISTING])
  assert.deepEqual(await f.told(changes), [])
  f.index.forget(one)
  assert.deepEqual(await f.told(changes), [LISTING, one])
})

test('brought back with a look between, and forgotten again', async t => {
  const f = new Fixture(t)
  addPath(f.index, one, treeOf(1))
  const changes = f.changes({ fresh: true })
  const looks: string[][] = []
  const look = async () => looks.push(await f.told(changes))
  f.index.forget(one)
  await look()
  await look()
  addPath(f.index, one, treeOf(1))
  await look()
  f.index.forget(one)
  await look()
  await look()
  assert.deepEqual(looks, [[LISTING, one], [one], [LISTING], [LISTING, one], [one]])
})

test('a kernel that knows nothing yet is not told of what was forgotten before', async t => {
  const f = new Fixture(t)
  addPath(f.index, one, treeOf(1))
  f.index.forget(one)
  const changes = f.changes({ fresh: true })
  assert.deepEqual(await f.told(changes), [])
  addPath(f.index, two, treeOf(2))
  assert.deepEqual(await f.told(changes), [LISTING])
  f.index.forget(two)
  assert.deepEqual(await f.told(changes), [LISTING, two])
})

test('a kernel of an earlier server is told of everything that was ever forgotten', async t => {
  const f = new Fixture(t)
  addPaths(f.index, [
    [one, treeOf(1)],
    [two, treeOf(2)],
    [three, treeOf(3)],
  ])
  f.index.forget(one)
  f.index.forget(two)
  addPath(f.index, two, treeOf(2))
  const changes = f.changes({ fresh: false })
  assert.deepEqual(await f.told(changes), [LISTING, one])
  assert.deepEqual(await f.told(changes), [one])
  assert.deepEqual(await f.told(changes), [])
})

test('what another handle on the index commits is seen', async t => {
  const folder = tempFolder(t, 'index')
  const [reader, writer] = [LmdbIndex.open(folder), LmdbIndex.open(folder)]
  onCleanup(t, () => Promise.all([reader.close(), writer.close()]))
  const device = new RecordedDevice(t)
  const changes = new RootChanges({
    fd: device.fd,
    index: reader,
    log: silentLogger,
    overlays: () => [],
    fresh: true,
  })
  addPath(writer, one, treeOf(1))
  reader.refresh()
  await changes.look()
  writer.forget(one)
  reader.refresh()
  await changes.look()
  assert.deepEqual(device.messages().map(describe), [LISTING, LISTING, one])
})

test('a device that refuses is told of in the log, and the next look goes on', async t => {
  const f = new Fixture(t)
  addPath(f.index, one, treeOf(1))
  const readOnly = openSync('/dev/null', 'r')
  onCleanup(t, () => closeSync(readOnly))
  const warnings: string[] = []
  const log = { ...silentLogger, warn: (line: string) => warnings.push(line) }
  const changes = new RootChanges({ fd: readOnly, index: f.index, log, overlays: () => [], fresh: true })
  f.index.forget(one)
  await changes.look()
  const why = 'the kernel may still show what was there before (EBADF)'
  assert.deepEqual(warnings, [`the list of paths: ${why}`, `${one}: ${why}`])
  await changes.look()
  assert.equal(warnings.length, 3)
})

test('below an overlay nothing is dropped, and a line says so once', async t => {
  const f = new Fixture(t)
  addPath(f.index, one, treeOf(1))
  const warnings: string[] = []
  const log = { ...silentLogger, warn: (line: string) => warnings.push(line) }
  const changes = new RootChanges({ fd: f.device.fd, index: f.index, log, overlays: () => ['/over'], fresh: true })
  f.index.forget(one)
  assert.deepEqual(await f.told(changes), [LISTING])
  assert.deepEqual(await f.told(changes), [])
  assert.equal(warnings.length, 1)
  assert.ok(warnings[0]!.includes(one) && warnings[0]!.includes('/over'))
})
