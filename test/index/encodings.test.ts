import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ByteWriter } from '../../src/bytes.ts'
import { dagPbCid, identityCid, rawCid } from '../../src/cid.ts'
import { FormatError } from '../../src/errors.ts'
import { seal, sealInPlace, unseal } from '../../src/index/checksum.ts'
import { coverRange, decodeLeaves, encodeLeaves, splitLeaves } from '../../src/index/contents.ts'
import {
  DirectoryPage,
  decodeNode,
  encodeDirectory,
  encodeFile,
  encodePage,
  encodePageIndex,
  encodeSymlink,
  MAX_PAGE_BYTES,
  PageIndex,
  splitPages,
} from '../../src/index/nodes.ts'
import { decodePath, decodeRecord, encodePath, encodeRecord } from '../../src/index/record.ts'
import {
  decodeExpiry,
  decodeLocation,
  decodeNumber,
  decodeOwner,
  decodeTombstone,
  encodeExpiry,
  encodeLocation,
  encodeNumber,
  encodeOwner,
  encodeTombstone,
} from '../../src/index/rows.ts'
import { type NodeId, type PathRecord, trustLevels } from '../../src/index/types.ts'
import type { NodeKind } from '../../src/nix/tree.ts'
import type { ChildEntry, Leaf } from '../../src/unixfs/types.ts'

const seed = 5
const many = { seed, numRuns: 2000 }

/** Objects as the decoders make them. */
const plain = { noNullPrototype: true }

const number = fc.oneof(fc.nat(), fc.maxSafeNat())
const bytes = (limits: { minLength?: number; maxLength: number }) =>
  fc.uint8Array({ ...limits, size: 'max' }).map(array => Buffer.from(array))
const digest = bytes({ minLength: 32, maxLength: 32 })
const cid = fc.oneof(digest.map(rawCid), digest.map(dagPbCid), bytes({ maxLength: 128 }).map(identityCid))
const characters = (text: string, limits: { minLength?: number; maxLength: number }) =>
  fc.string({ unit: fc.constantFrom(...text), ...limits })
const baseName = fc
  .tuple(
    characters('0123456789abcdfghijklmnpqrsvwxyz', { minLength: 32, maxLength: 32 }),
    characters('abcXYZ019+-._?=', { minLength: 1, maxLength: 40 }),
  )
  .map(([hashPart, name]) => `${hashPart}-${name}`)

const record: fc.Arbitrary<PathRecord> = fc
  .record({
    baseName,
    root: cid,
    kind: fc.constantFrom<NodeKind>('directory', 'file', 'symlink'),
    executable: fc.boolean(),
    size: number,
    nar: fc.option(cid, { nil: undefined }),
    narHash: digest,
    narSize: number,
    references: fc.array(baseName, { maxLength: 8 }),
    deriver: fc.option(baseName, { nil: undefined }),
    ca: fc.option(fc.string(), { nil: undefined }),
    signatures: fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 3 }),
    registrationTime: number,
    trust: fc.constantFrom(...trustLevels),
    totalSize: number,
    entries: number.map(n => n || 1),
    firstNode: number as fc.Arbitrary<NodeId>,
  })
  .map(record => ({ ...record, executable: record.executable && record.kind === 'file' }))

/** Bytes made from good ones: some changed, cut off or added. */
function hostile(good: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Buffer> {
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 })
  return fc
    .tuple(good, changes, fc.nat(), fc.nat(3), bytes({ maxLength: 20 }))
    .map(([good, changes, where, how, extra]) => {
      const changed = Buffer.from(good)
      for (const [at, byte] of changes) if (changed.length > 0) changed[at % changed.length] = byte
      if (how === 0) return changed.subarray(0, where % (changed.length + 1))
      return how === 1 ? Buffer.concat([changed, extra]) : how === 2 ? extra : changed
    })
}

test('a path record comes back as it was, with and without its name', () => {
  fc.assert(
    fc.property(record, record => {
      assert.deepEqual(decodeRecord(record.baseName, encodeRecord(record)), record)
      assert.deepEqual(decodePath(encodePath(record)), record)
    }),
    { seed, numRuns: 300 },
  )
})

test('hostile path records are none, or ones that could have been written', () => {
  fc.assert(
    fc.property(hostile(record.map(encodePath)), bytes => {
      const decoded = decodePath(bytes)
      if (decoded !== undefined) assert.deepEqual(decodePath(encodePath(decoded)), decoded)
    }),
    many,
  )
})

test('a path record cannot hold what could not be read again', () => {
  const good = fc.sample(record, { seed, numRuns: 1 })[0]!
  const names = [
    '',
    'x',
    'a/b',
    `${'a'.repeat(32)}-`,
    `${'a'.repeat(32)}-a/b`,
    `${'a'.repeat(32)}-${'a'.repeat(230)}`,
    `${'a'.repeat(32)}-ä`,
  ]
  const wrong: Partial<PathRecord>[] = [
    ...names.map(baseName => ({ baseName })),
    { narHash: Buffer.alloc(31) },
    { size: -1 },
    { narSize: 0.5 },
    { totalSize: Number.NaN },
    { root: Buffer.alloc(3) },
    { nar: Buffer.alloc(0) },
  ]
  for (const change of wrong) assert.throws(() => encodeRecord({ ...good, ...change }), FormatError)
})

const fileRow = fc.tuple(fc.boolean(), number, cid).map(([executable, size, cid]) => ({
  row: encodeFile(executable, size, cid),
  node: { kind: 'file', executable, size, cid },
}))
const symlinkRow = bytes({ maxLength: 4095 }).map(target => ({
  row: encodeSymlink(target),
  node: { kind: 'symlink', target },
}))
const directoryRow = fc.tuple(number, cid).map(([entries, cid]) => ({
  row: encodeDirectory(entries, cid),
  node: { kind: 'directory', cid, entries },
}))
const nodeRow = fc.oneof(fileRow, symlinkRow, directoryRow)

test('node records come back; hostile ones are none', () => {
  fc.assert(
    fc.property(nodeRow, ({ row, node }) => assert.deepEqual(decodeNode(row), node)),
    { seed },
  )
  fc.assert(
    fc.property(hostile(nodeRow.map(({ row }) => row)), bytes => {
      decodeNode(bytes)
    }),
    many,
  )
})

/** Entries of a directory with this id, sorted, with names of any bytes. */
const entriesOf = (directory: number, maxLength: number, size: fc.SizeForArbitrary): fc.Arbitrary<ChildEntry[]> =>
  fc
    .uniqueArray(
      fc.record({
        name: bytes({ minLength: 1, maxLength: 255 }),
        kind: fc.constantFrom<NodeKind>('directory', 'file', 'symlink'),
        executable: fc.boolean(),
        size: number,
        id: fc.integer({ min: 1, max: 2 ** 30 }).map(distance => directory + distance),
        cid: fc.constant(Buffer.alloc(0)),
      }),
      { selector: ({ name }) => name.toString('latin1'), maxLength, size },
    )
    .map(entries =>
      entries
        .map(entry => ({ ...entry, executable: entry.executable && entry.kind === 'file' }))
        .sort((a, b) => a.name.compare(b.name)),
    )

interface Pages {
  entries: ChildEntry[]
  starts: number[]
  pages: Buffer[]
  index: Buffer
}

function encodePages(directory: number, entries: ChildEntry[]): Pages {
  const starts = splitPages(directory, entries)
  const pages = starts.map((start, page) => {
    const writer = new ByteWriter()
    encodePage(writer, directory, entries, start, starts[page + 1] ?? entries.length, starts.length)
    return writer.finish()
  })
  const writer = new ByteWriter()
  encodePageIndex(writer, entries, starts)
  return { entries, starts, pages, index: writer.finish() }
}

test('entries come back from their pages by place and by name; no page is too long', () => {
  const directory = 2 ** 52
  let most = 0
  fc.assert(
    fc.property(entriesOf(directory, 400, 'max'), entries => {
      const { starts, pages, index } = encodePages(directory, entries)
      if (entries.length === 0) {
        assert.deepEqual(pages, [])
        return
      }
      most = Math.max(most, pages.length)
      const pageIndex = PageIndex.parse(index)!
      assert.equal(pageIndex.pages, pages.length)
      for (const [number, bytes] of pages.entries()) {
        assert.ok(bytes.length <= MAX_PAGE_BYTES)
        const page = DirectoryPage.parse(bytes)!
        assert.equal(page.pages, pages.length)
        assert.equal(pageIndex.firstOrdinal(number), starts[number])
        for (let place = 0; place < page.count; place++) {
          const ordinal = starts[number]! + place
          const { cid: _, ...expected } = entries[ordinal]!
          assert.deepEqual(page.entry(place, directory as NodeId), expected)
          assert.equal(page.find(expected.name), place)
          const longer = Buffer.concat([expected.name, Buffer.of(0)])
          const next = entries[ordinal + 1]
          if (next === undefined || Buffer.compare(next.name, longer) !== 0) assert.equal(page.find(longer), -1)
          assert.equal(pageIndex.pageOfName(expected.name), number)
          assert.equal(pageIndex.pageOfOrdinal(ordinal), number)
        }
      }
    }),
    { seed, numRuns: 30 },
  )
  assert.ok(most > 2, 'some had several pages')
})

test('hostile pages are none, or are read without leaving them', () => {
  const page = entriesOf(0, 12, 'small').map(entries => encodePages(0, entries).pages[0] ?? Buffer.alloc(0))
  const name = bytes({ maxLength: 4 })
  fc.assert(
    fc.property(hostile(page), name, (bytes, name) => {
      const page = DirectoryPage.parse(bytes)
      if (page === undefined) return
      assert.ok(page.find(name) < page.count)
      for (let place = 0; place < page.count; place++) {
        const entry = page.entry(place, 7 as NodeId)
        if (entry !== undefined) assert.ok(entry.id > 7 && entry.name.length > 0 && entry.name.length < 256)
      }
    }),
    many,
  )
})

test('hostile page indexes are none, or point at a page', () => {
  const index = entriesOf(0, 400, 'max').map(entries => encodePages(0, entries).index)
  const few = fc.sample(index, { seed, numRuns: 10 })
  fc.assert(
    fc.property(hostile(fc.constantFrom(...few)), bytes({ maxLength: 4 }), fc.nat(), (bytes, name, ordinal) => {
      const index = PageIndex.parse(bytes)
      if (index === undefined) return
      assert.ok(index.pageOfName(name) < index.pages)
      assert.ok(index.pageOfOrdinal(ordinal) < index.pages)
      assert.ok(index.firstOrdinal(index.pages - 1) >= 0)
    }),
    many,
  )
})

const leaf: fc.Arbitrary<Leaf> = fc.record(
  { cid, start: fc.nat(100), length: fc.integer({ min: 1, max: 2 ** 21 }) },
  plain,
)

function encodeTable(leaves: readonly Leaf[]): Buffer[] {
  const starts = splitLeaves(leaves)
  let offset = 0
  return starts.map((start, page) => {
    const end = starts[page + 1] ?? leaves.length
    const writer = new ByteWriter()
    encodeLeaves(writer, leaves, start, end, starts.length, offset)
    for (const { length } of leaves.slice(start, end)) offset += length
    return writer.finish()
  })
}

test('leaf tables come back from their pages, and any range of them', () => {
  let most = 0
  fc.assert(
    fc.property(fc.array(leaf, { minLength: 1, maxLength: 900, size: 'max' }), fc.nat(), fc.nat(), (leaves, a, b) => {
      const pages = encodeTable(leaves).map(bytes => {
        assert.ok(bytes.length <= MAX_PAGE_BYTES)
        return decodeLeaves(bytes)!
      })
      most = Math.max(most, pages.length)
      assert.ok(pages.every(page => page.pages === pages.length))
      const slices = pages.flatMap(page => page.leaves)
      assert.deepEqual(
        slices.map(({ offset: _, ...leaf }) => leaf),
        leaves,
      )
      const size = slices.at(-1)!.offset + slices.at(-1)!.length
      const [from, to] = [a % size, (a % size) + (b % size)]
      const covered = pages.flatMap(page => {
        const slices: typeof page.leaves = []
        coverRange(page, from, to, slices)
        return slices
      })
      assert.equal(
        covered.reduce((sum, { length }) => sum + length, 0),
        Math.min(size, to) - from,
      )
      let at = from
      for (const { offset, length } of covered) {
        assert.equal(offset, at)
        at += length
      }
    }),
    { seed, numRuns: 30 },
  )
  assert.ok(most > 1, 'some had several pages')
})

test('hostile leaf tables are none, or say offsets that are numbers', () => {
  const table = fc.array(leaf, { minLength: 1, maxLength: 8 }).map(leaves => encodeTable(leaves)[0]!)
  fc.assert(
    fc.property(hostile(table), bytes => {
      const page = decodeLeaves(bytes)
      if (page === undefined) return
      for (const { offset, length } of page.leaves) assert.ok(Number.isSafeInteger(offset + length))
    }),
    many,
  )
})

const location = fc
  .tuple(fc.nat(5), number, fc.integer({ min: 0, max: 2 ** 21 }), fc.nat(2 ** 32 - 1))
  .map(([pack, offset, length, checksum]) => ({
    pack,
    offset,
    length,
    checksums: new Uint32Array(pack === 0 ? 0 : Math.ceil(length / 65536)).fill(checksum),
  }))
const tombstone = fc.record(
  {
    narHash: digest,
    firstNode: number as fc.Arbitrary<NodeId>,
    entries: number.map(n => n || 1),
    claimed: fc.boolean(),
  },
  plain,
)
const owner = fc.record({ pid: fc.nat(), startTime: fc.string(), bootId: fc.string() }, plain)
const expiry = fc.option(number, { nil: undefined })

test('the small rows come back; hostile ones are none', () => {
  const check = <T>(values: fc.Arbitrary<T>, encode: (value: T) => Buffer, decode: (bytes: Buffer) => unknown) => {
    fc.assert(
      fc.property(values, value => assert.deepEqual(decode(encode(value)), value)),
      { seed },
    )
    fc.assert(
      fc.property(hostile(values.map(encode)), bytes => {
        decode(bytes)
      }),
      { seed, numRuns: 500 },
    )
  }
  check(number, encodeNumber, decodeNumber)
  check(location, encodeLocation, decodeLocation)
  check(tombstone, encodeTombstone, decodeTombstone)
  check(owner, encodeOwner, decodeOwner)
  check(expiry, encodeExpiry, bytes => decodeExpiry(bytes)?.expires)
})

test('a sealed value opens under its own key alone, and only unchanged', () => {
  const change = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }))
  fc.assert(
    fc.property(
      bytes({ minLength: 1, maxLength: 40 }),
      bytes({ maxLength: 100 }),
      change,
      (key, payload, [at, xor]) => {
        const value = seal(key, payload)
        assert.ok(unseal(key, value)!.equals(payload))
        const same = Buffer.concat([payload, Buffer.alloc(4)])
        sealInPlace(key, same)
        assert.ok(same.equals(value))
        const otherKey = Buffer.from(key)
        otherKey[at % key.length]! ^= xor
        assert.equal(unseal(otherKey, value), undefined)
        const changed = Buffer.from(value)
        changed[at % value.length]! ^= xor
        assert.equal(unseal(key, changed), undefined)
        assert.equal(unseal(key, value.subarray(0, 3)), undefined)
      },
    ),
    { seed },
  )
})
