import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type Database, open } from 'lmdb'
import { dagPbCid, rawCid, sha256 } from '../../src/cid.ts'
import { DamagedError, StateError, systemCode } from '../../src/errors.ts'
import { seal } from '../../src/index/checksum.ts'
import { type DatabaseName, databaseNames, metaKeys } from '../../src/index/keys.ts'
import { LmdbIndex } from '../../src/index/lmdb.ts'
import type { NodeId, PathRecord } from '../../src/index/types.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { addPath, addPaths, baseNameOf, directory, file, stagePath, type Tree } from '../helpers/index-trees.ts'
import { tempFolder } from '../helpers/temp.ts'
import { readOnlyView, smallDisk } from '../helpers/tmpfs.ts'
import { anyNames, rowOf } from '../suites/store-index.ts'

const largeFile: Tree = {
  kind: 'file',
  size: 50_000,
  leaves: Array.from({ length: 1000 }, (_, i) => ({ cid: rawCid(sha256(Buffer.from(`${i}`))), start: 0, length: 50 })),
}
const largeFolder: Tree = { kind: 'directory', entries: anyNames(1000).map(name => [name, file(1)]) }

/** An index with something in each database; the folder, and the path that is in it. */
async function filledIndex(t: TestContext): Promise<{ folder: string; record: PathRecord; largeCid: Buffer }> {
  const folder = join(tempFolder(t, 'damage'), 'index')
  const index = LmdbIndex.open(folder)
  const tree = directory({ folder: largeFolder, large: largeFile, link: { kind: 'symlink', target: 'large' } })
  const { record, told } = addPath(index, baseNameOf(1), tree, { pin: { name: 'pin', expires: 5 } })
  index.commitBlocks([rowOf(1), rowOf(2)])
  index.allocatePack({ pid: 1, startTime: '2', bootId: '3' })
  await index.close()
  const { cid } = told.children.find(({ name }) => name.toString() === 'large')!
  return { folder, record, largeCid: Buffer.from(cid) }
}

/** Changes rows behind the index's back. */
async function tamper(folder: string, change: (databases: Record<DatabaseName, Database<Buffer, Buffer>>) => void) {
  const options = { keyEncoding: 'binary', encoding: 'binary' } as const
  const root = open<Buffer, Buffer>({ path: folder, maxDbs: 12, overlappingSync: false, ...options })
  const databases = Object.fromEntries(databaseNames.map(name => [name, root.openDB({ name, ...options })]))
  root.transactionSync(() => {
    change(databases as Record<DatabaseName, Database<Buffer, Buffer>>)
  })
  await root.close()
}

const someNames = [...['folder', 'large', 'link', 'x'].map(name => Buffer.from(name)), ...anyNames(1000).slice(0, 10)]

/** Reads all that the index has of the path, and gives the errors of each part. */
function readAll(index: LmdbIndex, record: PathRecord, largeCid: Buffer): Error[] {
  const errors: Error[] = []
  const attempt = (read: () => unknown) => {
    try {
      read()
    } catch (error) {
      errors.push(error as Error)
    }
  }
  attempt(() => index.path(record.baseName))
  attempt(() => index.pathByHashPart(record.baseName.slice(0, 32)))
  attempt(() => [...index.paths()])
  attempt(() => [...index.pathsAfter(0 as NodeId)])
  attempt(() => index.pathOfNode(record.firstNode))
  for (let id = record.firstNode; id < record.firstNode + record.entries; id++) {
    attempt(() => index.node(id))
    attempt(() => [...index.entries(id, 0)])
    attempt(() => [...index.entries(id, 900)])
    for (const name of someNames) attempt(() => index.lookup(id, name))
  }
  for (const offset of [0, 20_000, 49_999]) attempt(() => index.leaves(largeCid, 50_000, offset, 1000))
  for (const { multihash } of [rowOf(1), rowOf(2)]) attempt(() => index.locate(multihash))
  attempt(() => [...index.pins()])
  attempt(() => [...index.packs()])
  attempt(() => index.generation())
  return errors
}

test('a changed byte in any value is damage that names database and key, and nothing else', async t => {
  const { folder, record, largeCid } = await filledIndex(t)
  const rows: { name: DatabaseName; key: Buffer; value: Buffer }[] = []
  await tamper(folder, databases => {
    for (const name of databaseNames) {
      for (const { key, value } of databases[name].getRange())
        rows.push({ name, key: Buffer.from(key), value: Buffer.from(value) })
    }
  })
  // Of the many equal ones a few are enough.
  const chosen = rows.filter(({ name, key }, i) => name !== 'nodes' || key[0] !== 0x6e || i % 300 === 0)
  assert.deepEqual(new Set(chosen.map(({ name }) => name)), new Set(databaseNames.filter(name => name !== 'forgotten')))
  for (const [i, { name, key, value }] of chosen.entries()) {
    const changed = Buffer.from(value)
    changed[(i * 7919) % changed.length]! ^= 1 << (i % 8)
    await tamper(folder, databases => databases[name].put(key, changed))
    const isAtOpening = name === 'meta' && ['schema', 'epoch', 'generation'].includes(key.toString())
    if (isAtOpening) {
      assert.throws(() => LmdbIndex.open(folder), DamagedError)
    } else {
      const index = LmdbIndex.open(folder)
      const errors = readAll(index, record, largeCid)
      const text = name === 'paths' || name === 'meta' ? key.toString() : key.toString('hex')
      if (name !== 'meta') assert.ok(errors.length > 0, `${name} ${text}`)
      for (const error of errors) {
        assert.ok(error instanceof DamagedError, `${error.stack}`)
        assert.ok(error.message.includes(`database ${name}, key ${text}: `), error.message)
      }
      await index.close()
    }
    await tamper(folder, databases => databases[name].put(key, value))
  }
  const index = LmdbIndex.open(folder)
  onCleanup(t, () => index.close())
  assert.deepEqual(readAll(index, record, largeCid), [])
})

test('a good value under another key is damage', async t => {
  const { folder } = await filledIndex(t)
  await tamper(folder, ({ blocks }) => {
    const [first, second] = [rowOf(1).multihash as Buffer, rowOf(2).multihash as Buffer]
    blocks.put(first, Buffer.from(blocks.get(second)!))
  })
  const index = LmdbIndex.open(folder)
  onCleanup(t, () => index.close())
  assert.throws(() => index.locate(rowOf(1).multihash), DamagedError)
  assert.deepEqual(index.locate(rowOf(2).multihash), rowOf(2).location)
})

test('rows that are gone are damage where something rests on them', async t => {
  const { folder, record, largeCid } = await filledIndex(t)
  const folderId = (record.firstNode + 1) as NodeId
  await tamper(folder, ({ nodes, contents, paths }) => {
    for (const key of nodes.getKeys()) if ([0x69, 0x70].includes(key[0]!)) nodes.remove(key)
    for (const key of contents.getKeys()) contents.remove(key)
    paths.remove(Buffer.from(record.baseName))
  })
  const index = LmdbIndex.open(folder)
  onCleanup(t, () => index.close())
  assert.throws(() => index.lookup(folderId, Buffer.from('x')), DamagedError)
  assert.throws(() => [...index.entries(folderId, 0)], DamagedError)
  assert.throws(() => index.leaves(largeCid, 50_000, 0, 1), DamagedError)
  assert.throws(() => [...index.pathsAfter(0 as NodeId)], DamagedError)
})

test('an index of a newer version is refused with what to do', async t => {
  const { folder } = await filledIndex(t)
  await tamper(folder, ({ meta }) => {
    const version = Buffer.alloc(8)
    version[0] = 2
    meta.put(metaKeys.schema, seal(metaKeys.schema, version))
  })
  for (const readOnly of [false, true]) {
    assert.throws(
      () => LmdbIndex.open(folder, { readOnly }),
      (error: Error) => error instanceof StateError && /has version 2.*use a newer nix-ipfs-mount$/.test(error.message),
    )
  }
})

test('a file that is no LMDB database is refused', t => {
  const folder = tempFolder(t, 'index')
  writeFileSync(join(folder, 'data.mdb'), Buffer.alloc(65536, 'garbage'))
  assert.throws(() => LmdbIndex.open(folder), DamagedError)
  assert.throws(() => LmdbIndex.open(folder, { readOnly: true }), DamagedError)
  truncateSync(join(folder, 'data.mdb'), 100)
  assert.throws(() => LmdbIndex.open(folder), DamagedError)
})

test('a data file that was cut short is refused rather than mapped', async t => {
  const { folder } = await filledIndex(t)
  const index = LmdbIndex.open(folder)
  for (let i = 2; i < 20; i++) addPath(index, baseNameOf(i), largeFolder)
  await index.close()
  const path = join(folder, 'data.mdb')
  truncateSync(path, statSync(path).size - 1_200_000)
  assert.throws(() => LmdbIndex.open(folder), { name: 'DamagedError', message: /data\.mdb: it is cut short$/ })
  assert.throws(() => LmdbIndex.open(folder, { readOnly: true }), DamagedError)
  truncateSync(path, 4096)
  assert.throws(() => LmdbIndex.open(folder), DamagedError)
  truncateSync(path, 0)
  const empty = LmdbIndex.open(folder)
  onCleanup(t, () => empty.close())
  assert.deepEqual([...empty.paths()], [])
})

test('an index whose maker was killed at the very start is made anew, but not one that has had paths', async t => {
  const folder = tempFolder(t, 'index')
  const path = join(folder, 'data.mdb')
  await LmdbIndex.open(folder).close()
  const whole = readFileSync(path)
  // The first of two meta pages, as LMDB writes it at first: of transaction 0.
  const first = Buffer.from(whole.subarray(0, 4096))
  assert.equal(first.readBigUInt64LE(152), 0n)
  writeFileSync(path, first)
  assert.throws(() => LmdbIndex.open(folder, { readOnly: true }), DamagedError)
  const again = LmdbIndex.open(folder)
  addPath(again, baseNameOf(1), file(1))
  addPath(again, baseNameOf(2), file(2))
  await again.close()
  truncateSync(path, 4096)
  assert.throws(() => LmdbIndex.open(folder), DamagedError)
})

test('for reading only, an index on read-only media; there everything that writes is refused', async t => {
  const { folder, record, largeCid } = await filledIndex(t)
  const view = await readOnlyView(t, folder)
  assert.throws(
    () => LmdbIndex.open(view),
    (error: Error) =>
      error instanceof StateError && systemCode(error.cause) === 'EROFS' && error.message.includes(view),
  )
  const index = LmdbIndex.open(view, { readOnly: true })
  onCleanup(t, () => index.close())
  assert.deepEqual(readAll(index, record, largeCid), [])
  assert.deepEqual(index.path(record.baseName), record)
  const { baseName } = record
  const writes = [
    () => index.forget(baseName),
    () => index.pin({ baseName, name: '', expires: 1 }),
    () => index.unpin(baseName, 'pin'),
    () => index.commitBlocks([rowOf(5)]),
    () => index.allocatePack({ pid: 1, startTime: '', bootId: '' }),
    () => index.assignNodes([{ baseName, narHash: sha256(Buffer.alloc(0)), entries: 1 }]),
    () => index.commitPaths([], Buffer.alloc(0)),
  ]
  for (const write of writes) assert.throws(write, StateError)
})

test('for reading only, no index is made', t => {
  const folder = join(tempFolder(t, 'index'), 'none')
  assert.throws(() => LmdbIndex.open(folder, { readOnly: true }), StateError)
  mkdirSync(folder)
  assert.throws(() => LmdbIndex.open(folder, { readOnly: true }), StateError)
})

test('a full disk is one line, shows nothing by half, keeps what was there, and passes', async t => {
  const folder = await smallDisk(t, '4m')
  let index = LmdbIndex.open(folder)
  onCleanup(t, () => index.close())
  const tree = directory({ folder: largeFolder, large: largeFile })
  const added: PathRecord[] = []
  const fill = () => {
    for (let i = 0; i < 1000; i++) {
      added.push(addPath(index, baseNameOf(i), tree, { pin: { name: 'x', expires: undefined } }).record)
      index.commitBlocks(Array.from({ length: 500 }, (_, row) => rowOf(1000 * i + row)))
    }
  }
  assert.throws(fill, (error: Error) => {
    assert.ok(error instanceof StateError)
    assert.match(error.message, /^[^\n]*no space left on the device, nothing more was added to the index$/)
    return true
  })
  assert.ok(added.length > 2)
  await index.close()
  index = LmdbIndex.open(folder)
  const records = [...index.paths()]
  assert.deepEqual(
    records.map(({ baseName }) => baseName),
    added.map(({ baseName }) => baseName).sort(),
  )
  assert.equal([...index.pins()].length, added.length)
  for (const record of records) assert.equal([...index.entries((record.firstNode + 1) as NodeId, 0)].length, 1000)
  // Forgetting works without room, and makes some.
  for (const { baseName } of added.slice(0, -1)) assert.equal(index.forget(baseName), true)
  writeFileSync(join(folder, 'filler'), Buffer.alloc(100))
  assert.equal([...index.paths()].length, 1)
})

test('blocks that a gc removes meanwhile are not relied on', async t => {
  const index = LmdbIndex.open(tempFolder(t, 'index'))
  onCleanup(t, () => index.close())
  const rows = [rowOf(1), rowOf(2)]
  index.commitBlocks(rows)
  const reused = Buffer.concat(rows.map(({ multihash }) => multihash))
  const { commit } = stagePath(index, baseNameOf(1), directory({ a: file(1) }))
  index.removeBlocks([rows[1]!.multihash])
  assert.equal(index.locate(rows[1]!.multihash), undefined)
  assert.throws(() => index.commitPaths([commit], reused), {
    name: 'RefusedError',
    message: 'blocks were removed by a gc meanwhile; run it again',
  })
  assert.equal(index.path(baseNameOf(1)), undefined)
  assert.equal(index.node(commit.record.firstNode), undefined)
  index.commitBlocks(rows)
  assert.deepEqual(index.commitPaths([commit], reused), ['added'])
})

test('what is not what it should be is refused before anything is written', async t => {
  const index = LmdbIndex.open(tempFolder(t, 'index'))
  onCleanup(t, () => index.close())
  const { commit } = stagePath(index, baseNameOf(1), directory({ a: file(1) }))
  const wrong: Partial<PathRecord>[] = [
    { baseName: '../../etc' },
    { baseName: `${baseNameOf(1).slice(0, 32)}-a/b` },
    { narHash: Buffer.alloc(20) },
    { size: -1 },
    { narSize: 2 ** 60 },
    { registrationTime: 0.5 },
    { entries: 3 },
    { root: dagPbCid(sha256(Buffer.alloc(0))).subarray(0, 20) },
  ]
  for (const change of wrong) {
    assert.throws(() => index.commitPaths([{ ...commit, record: { ...commit.record, ...change } }], Buffer.alloc(0)))
    assert.deepEqual([...index.paths()], [])
  }
  assert.throws(() => index.assignNodes([{ baseName: 'x', narHash: Buffer.alloc(32), entries: 1 }]))
})

test('an index that was closed says so, also to listings that are under way', async t => {
  const index = LmdbIndex.open(tempFolder(t, 'index'))
  addPaths(
    index,
    Array.from({ length: 100 }, (_, i) => [baseNameOf(i), file(i)] as const),
  )
  const listing = index.paths()
  listing.next()
  await index.close()
  await index.close()
  assert.throws(() => index.path(baseNameOf(1)), { name: 'StateError', message: /the index is closed$/ })
  assert.throws(() => [...listing], StateError)
  assert.throws(() => index.forget(baseNameOf(1)), StateError)
})
