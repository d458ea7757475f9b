import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { cidText, dagPbCid, rawCid, readCid, sha256 } from '../../src/cid.ts'
import { FormatError, MissingBlockError } from '../../src/errors.ts'
import { listDirectory, lookupInDirectory, writeDirectory } from '../../src/unixfs/directory.ts'
import { decodeNode, encodeDirectoryNode, encodeSymlinkNode, type Link, linkLength } from '../../src/unixfs/node.ts'
import { getFrom, hex, StrictBlocks } from './support.ts'

const cid = rawCid(sha256(Buffer.from('leaf')))

function entry(name: Uint8Array | string, tsize = 1): Link {
  return { cid, name: Buffer.from(name), tsize }
}

function typeOf(blocks: StrictBlocks, root: Buffer) {
  return decodeNode(getFrom(blocks)(root)!).data?.type
}

/** Entries whose flat node has exactly `length` bytes, sorted, with Tsizes of one byte to five. */
function entriesOfLength(length: number): Link[] {
  const entries: Link[] = []
  let left = length - 4
  for (let i = 0; left > 1000; i++) {
    const next = entry(`${String(i).padStart(6, '0')}${'x'.repeat(i % 100)}`, 2 ** ((i * 7) % 35))
    entries.push(next)
    left -= linkLength(cid.length, next.name.length, next.tsize)
  }
  // Names of 1 to 80 bytes give links of 44 to 123 bytes.
  for (let i = 0; left > 0; i++) {
    const size = left > 250 ? 123 : left > 123 ? Math.floor(left / 2) : left
    const next = entry(`z${i}`.padEnd(size - linkLength(cid.length, 0, 1), 'z'))
    entries.push(next)
    left -= size
  }
  return entries
}

test('a directory is flat up to a node of exactly 256 KiB, and sharded beyond', () => {
  for (const [length, type] of [
    [262_143, 'directory'],
    [262_144, 'directory'],
    [262_145, 'hamt-shard'],
  ] as const) {
    const entries = entriesOfLength(length)
    assert.equal(encodeDirectoryNode(entries).length, length)
    const blocks = new StrictBlocks()
    const { cid: root } = writeDirectory(blocks, entries)
    assert.equal(typeOf(blocks, root), type)
    const get = getFrom(blocks)
    assert.deepEqual(
      listDirectory(get, root).map(({ name, tsize }) => [hex(name), tsize]),
      entries.map(({ name, tsize }) => [hex(name), tsize]),
    )
    for (const { name, tsize } of entries.slice(0, 50)) assert.equal(lookupInDirectory(get, root, name)?.tsize, tsize)
    assert.equal(lookupInDirectory(get, root, Buffer.from('absent')), undefined)
    assert.equal(lookupInDirectory(get, root, Buffer.alloc(0)), undefined)
  }
})

test('an empty directory is the well-known one', () => {
  const blocks = new StrictBlocks()
  const { cid: root, tsize } = writeDirectory(blocks, [])
  assert.equal(cidText(root), 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354')
  assert.equal(tsize, 4)
  assert.deepEqual(listDirectory(getFrom(blocks), root), [])
})

test('entries come sorted by bytes whatever order the DAG has, and the first of a name counts', () => {
  const names = ['b', 'a', 'é', 'Z', 'b', '\u{1F600}', '\uFFFD', 'a']
  const links = names.map((name, i) => entry(name, i))
  const blocks = new StrictBlocks()
  const root = blocks.putNode(encodeDirectoryNode(links))
  assert.deepEqual(
    listDirectory(getFrom(blocks), root).map(({ name, tsize }) => [name.toString(), tsize]),
    [
      ['Z', 3],
      ['a', 1],
      ['b', 0],
      ['é', 2],
      ['\uFFFD', 6],
      ['\u{1F600}', 5],
    ],
  )
  assert.equal(lookupInDirectory(getFrom(blocks), root, Buffer.from('b'))?.tsize, 0)
})

test('names of any bytes are kept', () => {
  const bytes = fc.integer({ min: 1, max: 255 }).filter(byte => byte !== 0x2f)
  const names = fc.uniqueArray(
    fc.array(bytes, { minLength: 3, maxLength: 20 }).map(values => Buffer.from(values)),
    { selector: hex, maxLength: 30 },
  )
  fc.assert(
    fc.property(names, names => {
      names.sort(Buffer.compare)
      const blocks = new StrictBlocks()
      const { cid: root } = writeDirectory(
        blocks,
        names.map(name => entry(name)),
      )
      assert.deepEqual(
        listDirectory(getFrom(blocks), root).map(({ name }) => hex(name)),
        names.map(hex),
      )
    }),
    { seed: 20260403, numRuns: 100 },
  )
})

test('a name that no file can have is refused', () => {
  for (const name of ['', '.', '..', 'a/b', '/', 'a\0b', 'x'.repeat(256)]) {
    const blocks = new StrictBlocks()
    const root = blocks.putNode(encodeDirectoryNode([entry('fine'), entry(name)]))
    assert.throws(() => listDirectory(getFrom(blocks), root), FormatError, JSON.stringify(name))
  }
  for (const name of ['...', '..a', 'x'.repeat(255)]) {
    const blocks = new StrictBlocks()
    const root = blocks.putNode(encodeDirectoryNode([entry(name)]))
    assert.equal(listDirectory(getFrom(blocks), root).length, 1)
  }
})

test('what is no directory says so, and a missing block is named', () => {
  const blocks = new StrictBlocks()
  const get = getFrom(blocks)
  const link = blocks.putNode(encodeSymlinkNode(Buffer.from('target')))
  const nameless = blocks.putNode(Buffer.from(`12280a24${hex(cid)}1801${'0a020801'}`, 'hex'))
  const bare = blocks.putNode(Buffer.alloc(0))
  const dagCbor = Buffer.concat([Buffer.from([1, 0x71]), readCid(cid)!.multihash])
  for (const root of [link, nameless, bare, cid, dagCbor, Buffer.from([1, 2, 3])]) {
    assert.throws(() => listDirectory(get, root), FormatError, hex(root))
  }
  assert.throws(() => lookupInDirectory(get, link, Buffer.from('a')), FormatError)
  const absent = dagPbCid(sha256(Buffer.from('absent')))
  assert.throws(
    () => listDirectory(get, absent),
    (error: unknown) => error instanceof MissingBlockError && error.message.includes(cidText(absent)),
  )
})
