import assert from 'node:assert/strict'
import { statfsSync } from 'node:fs'
import { after, test } from 'node:test'
import { MemoryBlocks } from '../../../src/blocks/memory.ts'
import { cidText } from '../../../src/cid.ts'
import { counter } from '../../../src/fs/counters.ts'
import { cidOfNode, Miss, StoreReader } from '../../../src/store/reader.ts'
import { E } from '../../helpers/kernel-replies.ts'
import { nodeAt, Serving, storeWith, UNKNOWN_NODE } from '../../helpers/served-store.ts'
import { getattr, getxattr, listxattr, lookup, read, readdir, statfs } from '../../helpers/synthetic-kernel.ts'
import { large, MIB, trees } from './trees.ts'

// What nodes hold: their bytes, the CID as an extended attribute, and the room where the blocks are.

const ROOT = 1

const store = await storeWith({ after }, trees)
const serving = new Serving(store)
const withXattr = new Serving(store, { xattr: true })
const tree = nodeAt(store, 'tree').id
const largeFile = nodeAt(store, 'tree', 'large').id

test('READ gives the bytes that are asked for, fewer only where the file ends', () => {
  const before = serving.count(counter.bytesRead)
  let total = 0
  const ranges: [offset: number, size: number][] = [
    [0, MIB],
    [0, 1],
    [0, 0],
    [1, 4096],
    [MIB - 1, 2],
    [MIB - 1, MIB],
    [MIB, MIB],
    [2 * MIB, MIB],
    [large.length - 1, 1],
    [large.length - 1, 4096],
    [large.length - 5000, 4096],
    [large.length, 4096],
    [large.length + 1, 1],
    [large.length, 0],
  ]
  for (const [offset, size] of ranges) {
    const got = serving.body(read(largeFile, offset, size))
    assert.ok(got.equals(large.subarray(offset, offset + size)), `${size} bytes from ${offset}`)
    total += got.length
  }
  assert.equal(serving.count(counter.bytesRead) - before, total)
})

test('READ piece by piece gives the whole file', () => {
  for (const size of [4096, 65537, MIB]) {
    const pieces: Buffer[] = []
    for (let offset = 0; offset < large.length; offset += size) pieces.push(serving.body(read(largeFile, offset, size)))
    assert.ok(Buffer.concat(pieces).equals(large))
  }
})

test('READ of small files, of an empty one and of a path that is a file', () => {
  const text = (below: string[], name = 'tree') =>
    serving.body(read(nodeAt(store, name, ...below).id, 0, 4096)).toString()
  assert.equal(text(['hello']), 'hello from the store\n')
  assert.equal(text(['program']), '#!/bin/sh\n')
  assert.equal(text(['empty']), '')
  assert.equal(text(['sub', 'deeper', 'file']), 'deep')
  assert.equal(text([], 'file'), 'a path that is a file')
})

test('READ far past the end gives nothing, also beyond what a double counts', () => {
  for (const offset of [2 ** 40, 2 ** 53 - 1, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
    for (const size of [0, 1, MIB]) assert.equal(serving.body(read(largeFile, offset, size)).length, 0)
  }
})

test('READ of more than was promised at INIT is EINVAL', () => {
  for (const size of [MIB + 1, 2 ** 31, 2 ** 32 - 1]) {
    assert.equal(serving.error(read(largeFile, 0, size)), E.EINVAL)
  }
})

test('READ of what is no file', () => {
  for (const node of [ROOT, tree, nodeAt(store, 'tree', 'link').id]) {
    assert.equal(serving.error(read(node, 0, 4096)), E.EISDIR)
  }
  assert.equal(serving.error(read(UNKNOWN_NODE, 0, 4096)), E.ENOENT)
})

test('READ of a block that is not here is a miss, answered in full once it is; nothing else waits for it', () => {
  const blocks = new MemoryBlocks()
  const lazy = new Serving(store, { reader: new StoreReader(store.index, blocks) })
  const request = read(largeFile, MIB - 10, 20)
  const missing: Buffer[] = []
  for (const part of [0, 1]) {
    const miss = lazy.answer(request)
    assert.ok(miss instanceof Miss)
    missing.push(Buffer.from(miss.cid))
    assert.equal(miss.file?.size, large.length)
    // A raw CIDv1 is 4 bytes and the digest; the multihash are its last 34.
    blocks.put(miss.cid.subarray(4), store.reader.blocks.get(miss.cid.subarray(2))!)
    assert.equal(blocks.size, part + 1)
  }
  assert.notEqual(cidText(missing[0]!), cidText(missing[1]!))
  assert.ok(lazy.body(request).equals(large.subarray(MIB - 10, MIB + 10)))
  assert.ok(lazy.answer(read(largeFile, 2 * MIB, 1)) instanceof Miss)
  lazy.body(lookup(tree, 'large'))
  lazy.body(getattr(largeFile))
  assert.ok(lazy.body(readdir(tree, 0, 4096, true)).length > 0)
  assert.equal(lazy.body(read(largeFile, large.length, 4096)).length, 0)
  assert.deepEqual(lazy.failures, [])
})

test('STATFS says how much room there is where the blocks are', () => {
  const body = serving.body(statfs())
  const here = statfsSync(store.state.folder)
  assert.equal(body.readBigUInt64LE(0), BigInt(here.blocks)) // blocks
  assert.equal(body.readUInt32LE(40), here.bsize) // bsize
  assert.equal(body.readUInt32LE(44), 255) // namelen
  assert.equal(body.readUInt32LE(48), here.bsize) // frsize
  const [free, available] = [body.readBigUInt64LE(8), body.readBigUInt64LE(16)] // bfree, bavail
  assert.ok(available <= free && free <= BigInt(here.blocks))
  // files, ffree, padding and what is spare
  assert.ok(body.subarray(24, 40).every(byte => byte === 0) && body.subarray(52).every(byte => byte === 0))
})

test('without xattr the kernel is told not to ask for extended attributes', () => {
  for (const request of [getxattr(largeFile, 'ipfs.cid', 0), getxattr(tree, 'user.x', 64), listxattr(largeFile, 64)]) {
    assert.equal(serving.error(request), E.ENOSYS)
  }
})

test('ipfs.cid is the CID of a file, folder or link', () => {
  for (const node of [largeFile, tree, nodeAt(store, 'tree', 'link').id]) {
    const record = store.index.node(node)
    assert.ok(record !== undefined)
    const cid = cidText(cidOfNode(record))
    // With room for nothing the answer is the size: struct fuse_getxattr_out.
    assert.deepEqual(withXattr.body(getxattr(node, 'ipfs.cid', 0)), sizeOf(cid.length))
    for (const room of [cid.length, 256, 65536]) {
      assert.equal(withXattr.body(getxattr(node, 'ipfs.cid', room)).toString(), cid)
    }
    for (const room of [1, cid.length - 1]) {
      assert.equal(withXattr.error(getxattr(node, 'ipfs.cid', room)), E.ERANGE)
    }
    const list = 'ipfs.cid\0'
    assert.deepEqual(withXattr.body(listxattr(node, 0)), sizeOf(list.length))
    assert.equal(withXattr.body(listxattr(node, list.length)).toString(), list)
    assert.equal(withXattr.error(listxattr(node, list.length - 1)), E.ERANGE)
  }
})

test('other names, and nodes without a CID, have no extended attributes', () => {
  for (const name of ['user.ipfs.cid', 'ipfs.cid2', 'ipfs', 'security.capability', 'system.posix_acl_access']) {
    for (const room of [0, 256]) assert.equal(withXattr.error(getxattr(largeFile, name, room)), E.ENODATA)
  }
  for (const node of [ROOT, UNKNOWN_NODE]) {
    for (const room of [0, 256]) assert.equal(withXattr.error(getxattr(node, 'ipfs.cid', room)), E.ENODATA)
    assert.deepEqual(withXattr.body(listxattr(node, 0)), sizeOf(0))
    assert.equal(withXattr.body(listxattr(node, 256)).length, 0)
  }
})

function sizeOf(length: number): Buffer {
  const out = Buffer.alloc(8)
  out.writeUInt32LE(length, 0)
  return out
}
