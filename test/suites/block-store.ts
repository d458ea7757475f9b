import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { type BlockReader, type BlockRow, type BlockStaging, MAX_BLOCK_BYTES } from '../../src/blocks/types.ts'
import { sha256, sha256Multihash } from '../../src/cid.ts'
import { DamagedError } from '../../src/errors.ts'

/** A block store under test, fresh and empty. */
export interface BlockStoreUnderTest {
  reader: BlockReader
  staging: BlockStaging
  /** Enters rows in whatever tells the reader, and the staging, where blocks are. */
  enter(rows: readonly BlockRow[]): void
}

const sizes = [0, 1, 100, 65535, 65536, 65537, 3 * 65536, 1024 * 1024 - 1, MAX_BLOCK_BYTES]

/** What every store of blocks does. */
export function blockStoreSuite(name: string, make: (t: TestContext) => Promise<BlockStoreUnderTest>): void {
  test(`${name}: blocks of all sizes come back whole`, async t => {
    const store = await make(t)
    const blocks = sizes.map(size => blockOf(size))
    await storeAll(store, blocks)
    for (const block of blocks) {
      assert.equal(store.reader.has(multihashOf(block)), true)
      assert.ok(store.reader.get(multihashOf(block))!.equals(block))
    }
  })

  test(`${name}: any range of a block is read to its place, and nothing beside it is touched`, async t => {
    const store = await make(t)
    const block = blockOf(5 * 65536 + 1234)
    await storeAll(store, [block])
    const position = fc.integer({ min: 0, max: block.length })
    const edges = fc.constantFrom(0, 1, 65535, 65536, 65537, 131072, 327680, block.length - 1, block.length)
    const place = fc.oneof(position, edges)
    fc.assert(
      fc.property(
        place,
        place,
        fc.integer({ min: 0, max: 100_000 }),
        fc.integer({ min: 0, max: 9 }),
        (a, b, slack, at) => {
          const [start, end] = a < b ? [a, b] : [b, a]
          const target = Buffer.alloc(at + end - start + slack, 0x5a)
          assert.equal(store.reader.readInto(multihashOf(block), start, end - start, target, at), true)
          assert.ok(target.subarray(at, at + end - start).equals(block.subarray(start, end)))
          assert.ok(isFilled(target.subarray(0, at)) && isFilled(target.subarray(at + end - start)))
        },
      ),
      { seed: 4, numRuns: 200 },
    )
  })

  test(`${name}: a range beyond the block is damage, never fewer bytes`, async t => {
    const store = await make(t)
    const block = blockOf(1000)
    await storeAll(store, [block])
    const target = Buffer.alloc(2000)
    assert.throws(() => store.reader.readInto(multihashOf(block), 900, 101, target, 0), DamagedError)
  })

  test(`${name}: a block that is not there is absent, not an error`, async t => {
    const { reader } = await make(t)
    const multihash = multihashOf(blockOf(10))
    assert.equal(reader.has(multihash), false)
    assert.equal(reader.get(multihash), undefined)
    assert.equal(reader.readInto(multihash, 0, 10, Buffer.alloc(10), 0), false)
  })

  test(`${name}: blocks filled in where they were reserved`, async t => {
    const store = await make(t)
    const blocks = Array.from({ length: 40 }, (_, i) => blockOf(500_000 + i))
    for (const block of blocks) {
      const room = store.staging.reserve(block.length + (block.length % 3))
      assert.ok(room.length >= block.length)
      block.copy(room)
      await makeRoom(store.staging)
      store.staging.put(sha256(block), room.subarray(0, block.length))
    }
    store.enter(await store.staging.sync())
    for (const block of blocks) assert.ok(store.reader.get(multihashOf(block))!.equals(block))
  })

  test(`${name}: a put may ignore what was reserved`, async t => {
    const store = await make(t)
    const room = store.staging.reserve(1000)
    room.fill(1)
    const other = blockOf(300)
    store.staging.put(sha256(other), other)
    store.enter(await store.staging.sync())
    assert.ok(store.reader.get(multihashOf(other))!.equals(other))
  })

  test(`${name}: a block put twice is stored once, and one that is known is reported instead`, async t => {
    const store = await make(t)
    const [first, second] = [blockOf(100), blockOf(200)]
    for (const block of [first, second, first]) store.staging.put(sha256(block), block)
    assert.equal(store.staging.pendingRows, 2)
    assert.equal(store.staging.pendingBytes, 300)
    const rows = await store.staging.sync()
    assert.equal(rows.length, 2)
    assert.equal(store.staging.pendingRows, 0)
    assert.equal(store.staging.pendingBytes, 0)
    assert.equal(store.staging.takeReused().length, 0)
    store.enter(rows)
    store.staging.put(sha256(second), second)
    store.staging.put(sha256(second), second)
    assert.ok(store.staging.takeReused().equals(multihashOf(second)))
    assert.equal(store.staging.takeReused().length, 0)
    assert.deepEqual(await store.staging.sync(), [])
  })

  test(`${name}: what was abandoned is not there, and the next blocks are`, async t => {
    const store = await make(t)
    const [kept, lost, later] = [blockOf(70_000), blockOf(80_000), blockOf(90_000)]
    store.staging.put(sha256(kept), kept)
    store.enter(await store.staging.sync())
    store.staging.put(sha256(lost), lost)
    store.staging.abandon()
    assert.equal(store.staging.pendingRows, 0)
    store.staging.put(sha256(later), later)
    store.enter(await store.staging.sync())
    assert.ok(store.reader.get(multihashOf(kept))!.equals(kept))
    assert.equal(store.reader.get(multihashOf(lost)), undefined)
    assert.ok(store.reader.get(multihashOf(later))!.equals(later))
  })

  test(`${name}: a block over the limit is refused`, async t => {
    const { staging } = await make(t)
    const block = Buffer.alloc(MAX_BLOCK_BYTES + 1)
    assert.throws(() => staging.reserve(block.length), RangeError)
    assert.throws(() => staging.put(sha256(block), block), RangeError)
  })

  test(`${name}: 20,000 small blocks among large ones`, async t => {
    const store = await make(t)
    const blocks = Array.from({ length: 20_000 }, (_, i) =>
      i % 1000 === 7 ? blockOf(1024 * 1024 - i) : blockOf(40 + (i % 50), i),
    )
    await storeAll(store, blocks)
    for (const block of blocks) assert.ok(store.reader.get(multihashOf(block))!.equals(block))
  })
}

async function storeAll({ staging, enter }: BlockStoreUnderTest, blocks: readonly Buffer[]): Promise<void> {
  for (const block of blocks) {
    await makeRoom(staging)
    staging.put(sha256(block), block)
  }
  enter(await staging.sync())
}

async function makeRoom(staging: BlockStaging): Promise<void> {
  if (staging.full) await staging.drain()
}

/** Bytes that look random and depend on the size and the number alone. */
export function blockOf(size: number, number = 0): Buffer {
  return createHash('shake128', { outputLength: size }).update(`${size} ${number}`).digest()
}

export function multihashOf(block: Buffer): Buffer {
  return sha256Multihash(sha256(block))
}

function isFilled(bytes: Buffer): boolean {
  return bytes.every(byte => byte === 0x5a)
}
