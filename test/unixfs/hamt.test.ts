import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { cidText, dagPbCid, rawCid, readCid, sha256 } from '../../src/cid.ts'
import { FormatError, MissingBlockError, RefusedError } from '../../src/errors.ts'
import { listShards, lookupInShards, writeShards } from '../../src/unixfs/hamt.ts'
import { murmur3 } from '../../src/unixfs/murmur3.ts'
import { decodeNode, encodeShardNode, type Link } from '../../src/unixfs/node.ts'
import { seededRandom } from '../helpers/random-tree.ts'
import { bytesOf, getFrom, hex, StrictBlocks } from './support.ts'

const SEED = 20260402
const cid = rawCid(sha256(Buffer.from('leaf')))

function entry(name: Uint8Array | string, tsize = 1): Link {
  return { cid, name: Buffer.from(name), tsize }
}

function listOf(blocks: StrictBlocks, root: Buffer) {
  const get = getFrom(blocks)
  return [...listShards(get, root, decodeNode(get(root)!))]
}

function find(blocks: StrictBlocks, root: Buffer, name: Uint8Array | string) {
  const get = getFrom(blocks)
  return lookupInShards(get, root, decodeNode(get(root)!), Buffer.from(name))
}

const sorted = (names: Uint8Array[]) => names.map(hex).sort()

test('a sharded directory lists what went in and finds each of it', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 1500 }), (seed, count) => {
      const names = manyNames(seed, count)
      const blocks = new StrictBlocks()
      const entries = names.map((name, i) => entry(name, i))
      const { cid: root, tsize } = writeShards(blocks, entries)
      const listed = listOf(blocks, root)
      assert.deepEqual(sorted(listed.map(found => found.name)), sorted(names))
      for (const [i, name] of names.entries()) {
        assert.equal(find(blocks, root, name)?.tsize, i)
        assert.equal(find(blocks, root, Buffer.concat([name, Buffer.alloc(41)])), undefined)
      }
      // Tsize counts the shards and what they link.
      let bytes = names.reduce((sum, _, i) => sum + i, 0)
      for (const [, block] of blocks.entries()) bytes += block.length
      assert.equal(tsize, bytes)
    }),
    { seed: SEED, numRuns: 10 },
  )
})

/** Distinct names of 1 to 40 bytes of any value. */
function manyNames(seed: number, count: number): Buffer[] {
  const next = seededRandom(seed)
  const names = new Map<string, Buffer>()
  while (names.size < count) {
    const name = bytesOf(next() * 2 ** 32, 1 + Math.floor(next() ** 2 * 40))
    names.set(hex(name), name)
  }
  return [...names.values()]
}

test('the same entries give the same shards in any order', () => {
  const entries = Array.from({ length: 700 }, (_, i) => entry(`name ${i}`))
  const root = writeShards(new StrictBlocks(), entries).cid
  assert.deepEqual(writeShards(new StrictBlocks(), entries.toReversed()).cid, root)
})

/** Names whose hashes share their first three bytes. */
function collidingNames(): Buffer[] {
  const seen = new Map<string, Buffer[]>()
  for (let i = 0; i < 40_000; i++) {
    const name = Buffer.from(`file-${i}`)
    const start = hex(murmur3(name).subarray(0, 3))
    const group = [...(seen.get(start) ?? []), name]
    seen.set(start, group)
  }
  return [...seen.values()].filter(group => group.length > 1).flat()
}

test('names that collide go as deep as they must', () => {
  const names = collidingNames()
  assert.ok(names.length >= 20)
  const blocks = new StrictBlocks()
  const { cid: root } = writeShards(
    blocks,
    names.map(name => entry(name)),
  )
  assert.deepEqual(sorted(listOf(blocks, root).map(({ name }) => name)), sorted(names))
  for (const name of names) assert.ok(find(blocks, root, name))
  const two = new StrictBlocks()
  const shallow = writeShards(two, [entry(names[0]!), entry(names[1]!)])
  assert.equal(two.size, 4, 'one shard for each equal byte, and the one where they part')
  assert.equal(listOf(two, shallow.cid).length, 2)
})

test('names of equal hash cannot be sharded', () => {
  const [first, second] = namesOfEqualHash()
  assert.deepEqual(murmur3(first), murmur3(second))
  assert.throws(
    () => writeShards(new StrictBlocks(), [entry('other'), entry(first), entry(second)]),
    (error: unknown) => error instanceof RefusedError && error.message.includes('hashes are equal'),
  )
})

test('a missing shard is named', () => {
  const blocks = new StrictBlocks()
  const names = collidingNames().slice(0, 2)
  const { cid: root } = writeShards(
    blocks,
    names.map(name => entry(name)),
  )
  const child = dagPbCid(readCid(decodeNode(getFrom(blocks)(root)!).links[0]!.cid)!.digest)
  blocks.delete(readCid(child)!.multihash)
  const names_it = (error: unknown) => error instanceof MissingBlockError && error.message.includes(cidText(child))
  assert.throws(() => listOf(blocks, root), names_it)
  assert.throws(() => find(blocks, root, names[0]!), names_it)
})

/** A shard of 256 buckets with these links, and a bitfield to match unless it is given. */
function shard(blocks: StrictBlocks, links: [name: string, cid: Buffer][], bitfield?: Buffer, fanout = 256): Buffer {
  const bits = Buffer.alloc(fanout / 8)
  for (const [name] of links) {
    const bucket = Number.parseInt(name.slice(0, 2), 16)
    bits[bits.length - 1 - (bucket >> 3)]! |= 1 << (bucket & 7)
  }
  const all = links.map(([name, cid]) => ({ cid, name: Buffer.from(name), tsize: 1 }))
  return blocks.putNode(encodeShardNode(all, bitfield ?? bits, fanout))
}

const bucketName = (name: string, level = 0) =>
  murmur3(Buffer.from(name))[level]!.toString(16).toUpperCase().padStart(2, '0')

test('a shard that contradicts itself is a format error', () => {
  const good = new StrictBlocks()
  const fine = shard(good, [[`${bucketName('a')}a`, cid]])
  assert.equal(find(good, fine, 'a')?.name.toString(), 'a')
  assert.equal(listOf(good, fine).length, 1)

  const wrong = bucketName('a') === '00' ? '01' : '00'
  const bad: [what: string, make: (blocks: StrictBlocks) => Buffer][] = [
    ['an entry in another bucket', blocks => shard(blocks, [[`${wrong}a`, cid]])],
    [
      'an entry in another bucket one level up',
      blocks => shard(blocks, [[wrong, shard(blocks, [[`${bucketName('a', 1)}a`, cid]])]]),
    ],
    ['a bitfield with a bit too many', blocks => shard(blocks, [[`${bucketName('a')}a`, cid]], Buffer.alloc(32, 1))],
    ['a bitfield of another bucket', blocks => shard(blocks, [['00a', cid]], Buffer.from([2]))],
    [
      'a bitfield that is too long',
      blocks => shard(blocks, [['00a', cid]], Buffer.concat([Buffer.alloc(32), Buffer.from([1])])),
    ],
    [
      'links out of order',
      blocks =>
        shard(blocks, [
          ['01', cid],
          ['00', cid],
        ]),
    ],
    [
      'a bucket twice',
      blocks =>
        shard(blocks, [
          ['00a', cid],
          ['00b', cid],
        ]),
    ],
    ['a lower-case bucket', blocks => shard(blocks, [['0aa', cid]])],
    ['a name shorter than a bucket', blocks => shard(blocks, [['0', cid]], Buffer.from([1]))],
    ['an empty shard below the root', blocks => shard(blocks, [['00', shard(blocks, [])]])],
    ['a raw block as shard', blocks => shard(blocks, [['00', cid]])],
    ['another fanout below', blocks => shard(blocks, [['00', shard(blocks, [['00a', cid]], undefined, 512)]])],
    ['a fanout that is no power of two', blocks => shard(blocks, [['00a', cid]], undefined, 264)],
    ['a fanout below 8', blocks => blocks.putNode(encodeShardNode([], Buffer.alloc(0), 4))],
    ['a fanout above 1024', blocks => blocks.putNode(encodeShardNode([], Buffer.alloc(0), 2048))],
  ]
  for (const [what, make] of bad) {
    const blocks = new StrictBlocks()
    const root = make(blocks)
    assert.throws(() => listOf(blocks, root), FormatError, what)
  }
  const unknownHash = encodeShardNode([], Buffer.alloc(0), 256)
  unknownHash[unknownHash.indexOf(0x22, 4)] = 0x23
  const blocks = new StrictBlocks()
  const root = blocks.putNode(unknownHash)
  assert.throws(() => listOf(blocks, root), FormatError)
})

test('an empty root shard lists nothing', () => {
  const blocks = new StrictBlocks()
  const root = shard(blocks, [])
  assert.deepEqual(listOf(blocks, root), [])
  assert.equal(find(blocks, root, 'a'), undefined)
})

test('shards deeper than the hash has bits, and a DAG that shares its shards, end with an error', () => {
  const all = Array.from({ length: 256 }, (_, i) => i.toString(16).toUpperCase().padStart(2, '0'))
  const deep = new StrictBlocks()
  let root = shard(deep, [['00a', cid]])
  for (let level = 0; level < 8; level++) root = shard(deep, [['00', root]])
  assert.throws(() => listOf(deep, root), FormatError)

  const shared = new StrictBlocks()
  const last = `${bucketName('a', 7)}a`
  root = shard(shared, [[last, cid]])
  // 256^7 paths to one entry.
  for (let level = 0; level < 7; level++)
    root = shard(
      shared,
      all.map(bucket => [bucket, root]),
    )
  assert.throws(() => listOf(shared, root), FormatError)
  assert.equal(find(shared, root, 'a')?.name.toString(), 'a')
})

/**
 * Two names of 16 bytes with the same first half of the hash. A block of 16 bytes can be chosen for any final state,
 * because every step of murmur3 can be undone: keep the half that is used, and vary the other.
 */
function namesOfEqualHash(): [Buffer, Buffer] {
  const mask = (1n << 64n) - 1n
  const inverse = (odd: bigint) => {
    let x = odd
    for (let i = 0; i < 6; i++) x = (x * (2n - odd * x)) & mask
    return x
  }
  const rotateRight = (x: bigint, bits: bigint) => ((x >> bits) | (x << (64n - bits))) & mask
  const unshift = (x: bigint) => x ^ (x >> 33n)
  const unfinish = (x: bigint) => {
    let y = (unshift(x) * inverse(0xc4ceb9fe1a85ec53n)) & mask
    y = (unshift(y) * inverse(0xff51afd7ed558ccdn)) & mask
    return unshift(y)
  }
  const c1 = 0x87c37b91114253d5n
  const c2 = 0x4cf5ad432745937fn
  const nameOf = (result: bigint, second: bigint): Buffer => {
    // result = first + second after the last step.
    let h1 = unfinish((result - second) & mask)
    let h2 = unfinish(second)
    h2 = (h2 - h1) & mask
    h1 = (h1 - h2) & mask
    h1 ^= 16n
    h2 ^= 16n
    let k2 = ((h2 - 0x38495ab5n) * inverse(5n)) & mask
    k2 = rotateRight((k2 - h1) & mask, 31n)
    k2 = (rotateRight((k2 * inverse(c1)) & mask, 33n) * inverse(c2)) & mask
    let k1 = ((h1 - 0x52dce729n) * inverse(5n)) & mask
    k1 = rotateRight(k1 & mask, 27n)
    k1 = (rotateRight((k1 * inverse(c2)) & mask, 31n) * inverse(c1)) & mask
    const name = Buffer.alloc(16)
    name.writeBigUInt64LE(k1, 0)
    name.writeBigUInt64LE(k2, 8)
    return name
  }
  const names: Buffer[] = []
  for (let second = 1n; names.length < 2; second++) {
    const name = nameOf(0x0123456789abcdefn, second)
    if (!name.includes(0) && !name.includes(0x2f)) names.push(name)
  }
  return [names[0]!, names[1]!]
}
