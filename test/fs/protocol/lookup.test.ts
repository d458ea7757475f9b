import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { counter } from '../../../src/fs/counters.ts'
import { decodeAttrOut, decodeEntry, E } from '../../helpers/kernel-replies.ts'
import { nodeAt, pathNamed, Serving, storeWith, UNKNOWN_NODE } from '../../helpers/served-store.ts'
import { getattr, lookup, makeRequest, OPCODE, readlink } from '../../helpers/synthetic-kernel.ts'
import { LONGEST_NAME, large, longestTarget, trees, UNDECODABLE_NAME } from './trees.ts'

// What names and nodes are, as the kernel asks for it.

/** Seconds; include/linux/jiffies.h cuts it to what the kernel's clock can count. */
const FOR_EVER = 0x7fffffffffffffffn
const ROOT = 1

const store = await storeWith({ after }, trees)
const serving = new Serving(store)

/** The fields of struct fuse_attr that are the same for all nodes: Nix sets the times to 1 and leaves all to root. */
const common = {
  atime: 1n,
  mtime: 1n,
  ctime: 1n,
  atimensec: 0,
  mtimensec: 0,
  ctimensec: 0,
  nlink: 1,
  uid: 0,
  gid: 0,
  rdev: 0,
  blksize: 4096,
  flags: 0,
}

const expectedNodes: [what: string, below: (string | Buffer)[], mode: number, size: number, blocks: number][] = [
  ['a file', ['hello'], 0o100444, 21, 1],
  ['an executable file', ['program'], 0o100555, 10, 1],
  ['an empty file', ['empty'], 0o100444, 0, 0],
  ['a large file', ['large'], 0o100444, large.length, Math.ceil(large.length / 512)],
  ['a symlink', ['link'], 0o120777, 5, 1],
  ['a folder', ['sub'], 0o040555, 0, 0],
  ['a file deeper down', ['sub', 'deeper', 'file'], 0o100444, 4, 1],
  ['a name of 255 bytes', [LONGEST_NAME], 0o100444, 7, 1],
  ['a name that is not UTF-8', [UNDECODABLE_NAME], 0o100444, 11, 1],
]

for (const [what, below, mode, size, blocks] of expectedNodes) {
  test(`LOOKUP and GETATTR of ${what}`, () => {
    const parent = nodeAt(store, 'tree', ...below.slice(0, -1)).id
    const { id } = nodeAt(store, 'tree', ...below)
    const attr = { ino: BigInt(id), size: BigInt(size), blocks: BigInt(blocks), mode, ...common }
    const entry = decodeEntry(serving.body(lookup(parent, below.at(-1)!)))
    assert.deepEqual(entry, {
      nodeid: BigInt(id),
      generation: 0n,
      entryValid: FOR_EVER,
      attrValid: FOR_EVER,
      entryValidNsec: 0,
      attrValidNsec: 0,
      attr,
    })
    assert.deepEqual(decodeAttrOut(serving.body(getattr(id))), { attrValid: FOR_EVER, attrValidNsec: 0, attr })
  })
}

test('LOOKUP at the root gives store paths of every kind, for ever', () => {
  for (const [name, mode] of [
    ['tree', 0o040555],
    ['file', 0o100555],
    ['path-link', 0o120777],
  ] as const) {
    const { baseName, firstNode } = pathNamed(store, name)
    const { nodeid, entryValid, attr } = decodeEntry(serving.body(lookup(ROOT, baseName)))
    assert.deepEqual([nodeid, entryValid, attr.mode], [BigInt(firstNode), FOR_EVER, mode])
  }
})

test('the root is a folder', () => {
  const { attr } = decodeAttrOut(serving.body(getattr(ROOT)))
  assert.deepEqual(attr, { ino: 1n, size: 0n, blocks: 0n, mode: 0o040555, ...common })
})

test('.links is an empty folder that is not listed', () => {
  const { nodeid, attr } = decodeEntry(serving.body(lookup(ROOT, '.links')))
  assert.equal(attr.mode, 0o040555)
  assert.deepEqual(decodeAttrOut(serving.body(getattr(nodeid))).attr, attr)
  assert.equal(decodeEntry(serving.body(lookup(nodeid, 'anything'))).nodeid, 0n)
})

test('what does not exist at the root may appear: it is ENOENT, which nobody remembers', () => {
  const { baseName } = pathNamed(store, 'tree')
  const absent = ['nothing', '.Trash', baseName.slice(0, 32), `${baseName}x`, baseName.toUpperCase()]
  for (const name of [...absent, `${'0'.repeat(32)}-absent`, 'ü', Buffer.of(0xff)]) {
    assert.equal(serving.error(lookup(ROOT, name)), E.ENOENT, `${name}`)
  }
})

test('what does not exist below a path never will: a node of 0, for ever', () => {
  for (const folder of [nodeAt(store, 'tree'), nodeAt(store, 'tree', 'sub'), nodeAt(store, 'tree', 'nothing')]) {
    for (const name of ['absent', 'Hello', 'hello ', Buffer.of(0xff), 'x'.repeat(255), '.', '..']) {
      const entry = decodeEntry(serving.body(lookup(folder.id, name)))
      assert.deepEqual([entry.nodeid, entry.entryValid, entry.entryValidNsec], [0n, FOR_EVER, 0])
    }
  }
})

test('no name is longer than 255 bytes, wherever it is looked for', () => {
  for (const parent of [ROOT, nodeAt(store, 'tree').id, nodeAt(store, 'many').id]) {
    for (const length of [256, 1024, 4095]) {
      assert.equal(serving.error(lookup(parent, 'x'.repeat(length))), E.ENAMETOOLONG)
    }
  }
})

test('below what is no folder there are no names', () => {
  for (const below of [['hello'], ['link']]) {
    assert.equal(serving.error(lookup(nodeAt(store, 'tree', ...below).id, 'x')), E.ENOTDIR)
  }
  assert.equal(serving.error(lookup(nodeAt(store, 'file').id, 'x')), E.ENOTDIR)
})

test('a node that never was is ENOENT, also numbers that no double holds', () => {
  for (const node of [0, 3, UNKNOWN_NODE, 2 ** 53 - 1, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
    assert.equal(serving.error(lookup(node, 'hello')), E.ENOENT)
    assert.equal(serving.error(getattr(node)), E.ENOENT)
    assert.equal(serving.error(readlink(node)), E.ENOENT)
  }
})

test('READLINK gives the target without a NUL, up to the longest', () => {
  assert.equal(serving.body(readlink(nodeAt(store, 'tree', 'link').id)).toString(), 'hello')
  assert.equal(serving.body(readlink(nodeAt(store, 'tree', 'long link').id)).toString(), longestTarget)
  assert.equal(serving.body(readlink(nodeAt(store, 'path-link').id)).toString(), 'tree')
})

test('READLINK of what is no link is EINVAL', () => {
  for (const node of [ROOT, nodeAt(store, 'tree').id, nodeAt(store, 'tree', 'hello').id]) {
    assert.equal(serving.error(readlink(node)), E.EINVAL)
  }
})

test('names are what comes before their NUL; without one the request is malformed', () => {
  const { id } = nodeAt(store, 'tree')
  const request = (body: string) => makeRequest(OPCODE.LOOKUP, id, Buffer.from(body))
  assert.equal(decodeEntry(serving.body(request('hello\0\0\0'))).nodeid, BigInt(nodeAt(store, 'tree', 'hello').id))
  const before = serving.count(counter.malformed)
  assert.equal(serving.error(request('hello')), E.EINVAL)
  for (const body of ['', '\0']) assert.equal(serving.error(request(body)), E.EINVAL)
  assert.equal(serving.count(counter.malformed), before + 3)
})
