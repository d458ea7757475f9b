import assert from 'node:assert/strict'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { scanPack } from '../../src/blocks/pack-format.ts'
import { PackStaging, type PackStagingOptions } from '../../src/blocks/pack-staging.ts'
import { PackReader } from '../../src/blocks/packs.ts'
import type { BlockLocation, BlockLocations, BlockRow } from '../../src/blocks/types.ts'
import { asBuffer } from '../../src/bytes.ts'
import { cidText, rawCid, sha256 } from '../../src/cid.ts'
import { DamagedError, StateError } from '../../src/errors.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { cachedDisk, readOnlyView, smallDisk } from '../helpers/tmpfs.ts'
import { blockOf, blockStoreSuite, multihashOf } from '../suites/block-store.ts'

/** Places of blocks in a Map, in the index's stead. */
class Places implements BlockLocations {
  readonly map = new Map<string, BlockLocation>()
  refreshed = 0

  locate(multihash: Uint8Array): BlockLocation | undefined {
    return this.map.get(asBuffer(multihash).toString('latin1'))
  }

  enter(rows: readonly BlockRow[]): void {
    for (const { multihash, location } of rows) this.map.set(asBuffer(multihash).toString('latin1'), location)
  }

  refresh(): void {
    this.refreshed++
  }
}

interface Packs {
  folder: string
  places: Places
  staging: PackStaging
  reader: PackReader
  /** Stores the blocks and makes them known. */
  store(...blocks: Buffer[]): Promise<BlockRow[]>
}

function packsIn(
  t: TestContext,
  folder: string,
  options: Partial<PackStagingOptions> & { maxOpen?: number } = {},
): Packs {
  const places = new Places()
  const { maxOpen, ...rest } = options
  let packs = 0
  const staging = new PackStaging(folder, {
    epoch: 77,
    allocate: () => ++packs,
    known: multihash => places.locate(multihash) !== undefined,
    ...rest,
  })
  const reader = new PackReader(folder, places, { ...(maxOpen && { maxOpen }) })
  onCleanup(t, async () => {
    reader.close()
    await staging.close()
  })
  const store = async (...blocks: Buffer[]) => {
    for (const block of blocks) staging.put(sha256(block), block)
    const rows = await staging.sync()
    places.enter(rows)
    return rows
  }
  return { folder, places, staging, reader, store }
}

const packs = (t: TestContext, options?: Partial<PackStagingOptions> & { maxOpen?: number }) =>
  packsIn(t, tempFolder(t, 'packs'), options)

blockStoreSuite('packs', async t => {
  const { staging, reader, places } = packs(t)
  return { staging, reader, enter: rows => places.enter(rows) }
})

blockStoreSuite('packs of 3 MB', async t => {
  const { staging, reader, places } = packs(t, { maxPackBytes: 3_000_000, maxOpen: 2 })
  return { staging, reader, enter: rows => places.enter(rows) }
})

blockStoreSuite('packs on a disk that takes no direct writes', async t => {
  const { staging, reader, places } = packsIn(t, await cachedDisk(t))
  return { staging, reader, enter: rows => places.enter(rows) }
})

test('rooms one behind the other come back whole, also where some are not needed, or a sync comes between', async t => {
  const { staging, reader, places, store } = packs(t)
  const chunks = Array.from({ length: 60 }, (_, i) => blockOf(1024 * 1024, i))
  await store(chunks[3]!, chunks[4]!)
  let held: Buffer[] = []
  let longest = 0
  const putHeld = () => {
    longest = Math.max(longest, held.length)
    for (const room of held) staging.put(sha256(room), room)
    held = []
  }
  for (const [i, chunk] of chunks.entries()) {
    let room = held.length > 0 ? staging.reserveBehind(held, chunk.length) : undefined
    if (room === undefined) {
      putHeld()
      if (staging.full) await staging.drain()
      room = staging.reserve(chunk.length)
    }
    chunk.copy(room)
    held.push(room.subarray(0, chunk.length))
    if (i % 20 === 11) places.enter(await staging.sync())
  }
  putHeld()
  places.enter(await staging.sync())
  assert.equal(longest, 15, 'as many as a batch has room for')
  for (const chunk of chunks) assert.ok(reader.get(multihashOf(chunk))!.equals(chunk))
})

test('a pack is created with its first batch, and is gone if nothing in it was synced', async t => {
  const { folder, staging, store } = packs(t)
  assert.deepEqual(await staging.sync(), [])
  staging.put(sha256(blockOf(10)), blockOf(10))
  assert.deepEqual(readdirSync(folder), [])
  staging.abandon()
  // More than one batch, so that some of it reaches the file.
  for (let i = 0; i < 20; i++) staging.put(sha256(blockOf(1_000_000, i)), blockOf(1_000_000, i))
  assert.deepEqual(readdirSync(folder), ['1.pack'])
  staging.abandon()
  assert.deepEqual(readdirSync(folder), [])
  await store(blockOf(10))
  assert.deepEqual(readdirSync(folder), ['2.pack'])
  await staging.close()
  assert.deepEqual(readdirSync(folder), ['2.pack'])
})

test('a pack that has grown to the limit is followed by another', async t => {
  const { folder, reader, store } = packs(t, { maxPackBytes: 100_000 })
  const blocks = Array.from({ length: 8 }, (_, i) => blockOf(60_000, i))
  for (const block of blocks) await store(block)
  assert.deepEqual(readdirSync(folder).sort(), ['1.pack', '2.pack', '3.pack', '4.pack'])
  for (const block of blocks) assert.ok(reader.get(multihashOf(block))!.equals(block))
})

test('the files begin as documented', async t => {
  const { folder, store } = packs(t)
  await store(Buffer.from('hello'))
  const bytes = readFileSync(join(folder, '1.pack'))
  assert.equal(bytes.toString('latin1', 0, 8), 'nixipfsP')
  assert.equal(bytes.readUInt32LE(8), 1)
  assert.equal(bytes.readUInt32LE(12), 77)
  assert.equal(bytes.readBigUInt64LE(16), 1n)
  assert.equal(bytes.toString('latin1', 32, 36), 'NIMb')
  assert.equal(bytes.readUInt32LE(36), 1)
  assert.equal(bytes.toString('latin1', bytes.length - 5), 'hello')
})

test('a scan finds every block where the index has it, and the copies of records', async t => {
  const { folder, staging, store } = packs(t)
  const rows = [
    ...(await store(...Array.from({ length: 30 }, (_, i) => blockOf(900_000 + i)))),
    ...(await store(blockOf(0))),
  ]
  staging.record(Buffer.from('a record'))
  staging.record(Buffer.alloc(0))
  rows.push(...(await store(blockOf(5))))
  const fd = openSync(join(folder, '1.pack'), 'r')
  onCleanup(t, () => closeSync(fd))
  const batches = [...scanPack(fd, 1)]
  assert.deepEqual(
    batches.flatMap(batch =>
      batch.blocks.map(({ multihash, location }) => ({ multihash: asBuffer(multihash), location })),
    ),
    rows.map(({ multihash, location }) => ({ multihash: asBuffer(multihash), location })),
  )
  assert.deepEqual(
    batches.flatMap(batch => batch.records.map(String)),
    ['a record', ''],
  )
  assert.equal(batches.at(-1)!.end, statSync(join(folder, '1.pack')).size)
})

test('a scan ends where a batch was cut short or damaged', async t => {
  const { folder, store } = packs(t)
  await store(blockOf(100))
  const whole = statSync(join(folder, '1.pack')).size
  await store(blockOf(200))
  const path = join(folder, '1.pack')
  const bytes = readFileSync(path)
  const count = (contents: Buffer) => {
    const copy = join(tempFolder(t), 'copy')
    writeFileSync(copy, contents)
    const fd = openSync(copy, 'r')
    try {
      return [...scanPack(fd, 1)].length
    } finally {
      closeSync(fd)
    }
  }
  assert.equal(count(bytes), 2)
  for (const length of [whole, whole + 1, whole + 19, whole + 30, bytes.length - 1]) {
    assert.equal(count(bytes.subarray(0, length)), 1)
  }
  for (let at = whole; at < bytes.length - 200; at += 3) {
    const flipped = Buffer.from(bytes)
    flipped[at]! ^= 0x10
    assert.equal(count(flipped), 1)
  }
})

test('a flipped bit is damage that names block and pack, in every piece', async t => {
  const { folder, reader, store } = packs(t)
  const block = blockOf(3 * 65536 + 500)
  const [row] = await store(block)
  const path = join(folder, '1.pack')
  const target = Buffer.alloc(block.length)
  for (const at of [0, 65535, 65536, 150_000, block.length - 1]) {
    flipBit(path, row!.location.offset + at)
    assert.throws(() => reader.get(multihashOf(block)), isDamage(block, path))
    assert.throws(() => reader.readInto(multihashOf(block), at, 1, target, 0), isDamage(block, path))
    const other = at < 100_000 ? 3 * 65536 : 0
    assert.equal(reader.readInto(multihashOf(block), other, 100, target, 0), true, 'other pieces stay readable')
    flipBit(path, row!.location.offset + at)
  }
  assert.ok(reader.get(multihashOf(block))!.equals(block))
})

test('a pack that was cut short is damage', async t => {
  const { folder, reader, store } = packs(t)
  const block = blockOf(100_000)
  await store(block)
  const path = join(folder, '1.pack')
  truncateSync(path, statSync(path).size - 1)
  assert.throws(() => reader.get(multihashOf(block)), isDamage(block, path))
  assert.equal(reader.readInto(multihashOf(block), 0, 65536, Buffer.alloc(65536), 0), true)
})

test('an index that gives a block more than a block can have is damage, not memory', async t => {
  const { places, reader, store } = packs(t)
  const [row] = await store(blockOf(100))
  places.enter([{ multihash: row!.multihash, location: { ...row!.location, length: 2 ** 40 } }])
  assert.throws(() => reader.get(row!.multihash), DamagedError)
})

test('a file that is not the pack of its name is refused', async t => {
  const { folder, places, reader, store } = packs(t, { maxPackBytes: 1 })
  const [first, second] = [blockOf(10), blockOf(20)]
  await store(first)
  await store(second)
  renameSync(join(folder, '2.pack'), join(folder, '1.pack'))
  assert.throws(() => reader.get(multihashOf(first)), /is not pack 1/)
  places.enter([
    { multihash: multihashOf(first), location: { pack: 9, offset: 60, length: 10, checksums: new Uint32Array(1) } },
  ])
  writeFileSync(join(folder, '9.pack'), Buffer.alloc(100))
  assert.throws(() => reader.get(multihashOf(first)), /is not pack 9/)
})

test('a pack of a newer version is refused with what to do', async t => {
  const { folder, reader, store } = packs(t)
  await store(blockOf(10))
  const path = join(folder, '1.pack')
  const bytes = readFileSync(path)
  bytes.writeUInt32LE(2, 8)
  const { crc32 } = await import('node:zlib')
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 28)), 28)
  writeFileSync(path, bytes)
  assert.throws(() => reader.get(multihashOf(blockOf(10))), { name: 'StateError', message: /version 2; use a newer/ })
})

test('a block whose pack was emptied meanwhile is looked up again', async t => {
  const { folder, places, reader, store } = packs(t, { maxPackBytes: 1 })
  const block = blockOf(1000)
  const [row] = await store(block)
  const key = Buffer.from(row!.multihash).toString('latin1')
  await store(blockOf(2000))
  const moved = places.map.get(Buffer.from(multihashOf(blockOf(2000))).toString('latin1'))!
  unlinkSync(join(folder, '1.pack'))
  assert.throws(() => reader.get(multihashOf(block)), isDamage(block, join(folder, '1.pack')))
  // As a refresh of the index would show it.
  places.refresh = () => places.map.set(key, { ...moved })
  assert.equal(reader.get(multihashOf(block))!.length, 2000)
})

test('few packs stay open, and those that were removed are let go', async t => {
  const { folder, reader, store } = packs(t, { maxPackBytes: 1, maxOpen: 3 })
  const blocks = Array.from({ length: 10 }, (_, i) => blockOf(100, i))
  for (const block of blocks) await store(block)
  for (let round = 0; round < 3; round++) {
    for (const block of blocks) assert.ok(reader.get(multihashOf(block))!.equals(block))
    // One is the pack that is written.
    assert.equal(openIn(folder), 4)
  }
  for (const name of readdirSync(folder)) unlinkSync(join(folder, name))
  assert.ok(reader.get(multihashOf(blocks[9]!))!.equals(blocks[9]!), 'an open pack is good to its end')
  reader.closeRemoved()
  assert.equal(openIn(folder), 1)
})

test('what lies in Kubo is not in the packs', async t => {
  const { places, reader } = packs(t)
  const block = blockOf(10)
  places.enter([
    { multihash: multihashOf(block), location: { pack: 0, offset: 0, length: 10, checksums: new Uint32Array(0) } },
  ])
  assert.equal(reader.has(multihashOf(block)), false)
  assert.equal(reader.get(multihashOf(block)), undefined)
})

test('a full disk is one line, loses nothing of before, and is over when there is room again', async t => {
  const folder = await smallDisk(t, '40m')
  const { staging, reader, store } = packsIn(t, folder)
  const before = blockOf(1_000_000)
  await store(before)
  // Once by a caller that waits for the disk, and once by one that does not.
  for (const waits of [true, false]) {
    const fill = async () => {
      for (let i = 1; i <= 100; i++) {
        if (waits && staging.full) await staging.drain()
        staging.put(sha256(blockOf(1_000_000, i)), blockOf(1_000_000, i))
      }
      await staging.sync()
    }
    await assert.rejects(fill, (error: Error) => {
      assert.ok(error instanceof StateError)
      assert.match(error.message, /^[^\n]*no space left on the device, nothing was added$/)
      assert.ok(error.message.includes(folder))
      return true
    })
    assert.ok(reader.get(multihashOf(before))!.equals(before))
    assert.equal(staging.pendingRows, 0)
  }
  await output('mount', ['-o', 'remount,size=100m', folder])
  const after = blockOf(1_000_001)
  await store(after)
  assert.ok(reader.get(multihashOf(after))!.equals(after))
  // The half batch ends its pack: what came later must be found by a scan, so it lies in another one.
  const found = readdirSync(folder).flatMap(name => {
    const fd = openSync(join(folder, name), 'r')
    const blocks = [...scanPack(fd, 0)].flatMap(batch => batch.blocks)
    closeSync(fd)
    return blocks
  })
  assert.ok(found.some(({ multihash }) => asBuffer(multihash).equals(multihashOf(after))))
})

test('a folder that cannot be written to is one line', async t => {
  const folder = await readOnlyView(t, tempFolder(t, 'packs'))
  const { staging } = packsIn(t, folder)
  staging.put(sha256(blockOf(1)), blockOf(1))
  await assert.rejects(staging.sync(), {
    name: 'StateError',
    message: `${folder}: cannot be written (EROFS), nothing was added`,
  })
  const missing = packsIn(t, join(folder, 'missing'))
  missing.staging.put(sha256(blockOf(1)), blockOf(1))
  await assert.rejects(missing.staging.sync(), { name: 'StateError', message: /cannot be written \(ENOENT\)/ })
})

test('a pack number that is taken is not overwritten', async t => {
  const folder = tempFolder(t, 'packs')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, '1.pack'), 'precious')
  const { staging } = packsIn(t, folder)
  staging.put(sha256(blockOf(1)), blockOf(1))
  await assert.rejects(staging.sync(), { name: 'StateError', message: /EEXIST/ })
  assert.equal(readFileSync(join(folder, '1.pack'), 'utf8'), 'precious')
})

function isDamage(block: Buffer, path: string): (error: Error) => boolean {
  return error => {
    assert.ok(error instanceof DamagedError, `${error}`)
    assert.ok(error.message.includes(cidText(rawCid(sha256(block)))) && error.message.includes(path), error.message)
    return true
  }
}

function flipBit(path: string, at: number): void {
  const fd = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, at)
  byte[0]! ^= 1
  writeSync(fd, byte, 0, 1, at)
  closeSync(fd)
}

/** Descriptors of this process on files in the folder. */
function openIn(folder: string): number {
  return readdirSync('/proc/self/fd').filter(fd => linkOf(fd).startsWith(`${folder}/`)).length
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return ''
  }
}
