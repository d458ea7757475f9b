import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { cidText, dagPbCid, identityCid, rawCid, sha256 } from '../../src/cid.ts'
import { FormatError } from '../../src/errors.ts'
import {
  decodeNode,
  directoryNodeLength,
  encodeDirectoryNode,
  encodeFileNode,
  encodeShardNode,
  encodeSymlinkNode,
  linkLength,
} from '../../src/unixfs/node.ts'
import { hex } from './support.ts'

const RUNS = { seed: 20260401, numRuns: 300 }
const leaf = rawCid(sha256(Buffer.from('leaf')))
const leafHex = hex(leaf)

const cids = fc.oneof(
  fc.uint8Array({ minLength: 32, maxLength: 32 }).map(digest => rawCid(digest)),
  fc.uint8Array({ minLength: 32, maxLength: 32 }).map(digest => dagPbCid(digest)),
  fc.uint8Array({ maxLength: 128 }).map(bytes => identityCid(bytes)),
)
const numbers = fc.oneof(
  fc.constantFrom(0, 1, 127, 128, 16383, 16384, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 35 + 5),
  fc.nat({ max: 2 ** 31 - 1 }),
)
/** Names as @ipld/dag-pb can hold them: UTF-8. */
const textNames = fc.string({ unit: 'binary', maxLength: 60 }).map(text => Buffer.from(text, 'utf8'))
const byteNames = fc.uint8Array({ maxLength: 255 }).map(bytes => Buffer.from(bytes))
const parts = fc.record({ cid: cids, size: numbers, tsize: numbers })
const mode = fc.option(fc.nat({ max: 0o7777 }), { nil: undefined })

test('an empty executable is the node that the design names', () => {
  const bytes = encodeFileNode({ links: [], mode: 0o555 })
  assert.equal(hex(bytes), '0a070802180038ed02')
  const cid = dagPbCid(sha256(bytes))
  assert.equal(cidText(cid), 'bafybeiejsblrg76i2hxwipom2lyhehq3ftfxbiurtumuxrfhz5u2jys7ne')
})

test('nodes are the bytes of the format', () => {
  const file = encodeFileNode({ links: [{ cid: leaf, size: 300, tsize: 301 }], mode: 0o555 })
  assert.deepEqual(
    hex(file),
    [
      ['12', '2b'], // Links: 43 bytes
      ['0a', '24', leafHex], // Hash
      ['12', '00'], // Name
      ['18', 'ad02'], // Tsize 301
      ['0a', '0b'], // Data: 11 bytes
      ['08', '02'], // Type File
      ['18', 'ac02'], // filesize 300
      ['20', 'ac02'], // blocksizes, not packed
      ['38', 'ed02'], // mode
    ]
      .flat()
      .join(''),
  )
  const directory = encodeDirectoryNode([{ cid: leaf, name: Buffer.from([0xff, 0x61]), tsize: 5 }])
  assert.equal(hex(directory), `122c0a24${leafHex}1202ff6118050a020801`)
  assert.equal(hex(encodeSymlinkNode(Buffer.from('to'))), '0a06080412027461'.replace('7461', '746f'))
  const shard = encodeShardNode([{ cid: leaf, name: Buffer.from('09a'), tsize: 5 }], Buffer.from([2, 0]), 256)
  assert.equal(hex(shard), `122d0a24${leafHex}120330396118050a0b0805120202002822308002`)
})

test('a link takes as many bytes as linkLength says', () => {
  fc.assert(
    fc.property(cids, byteNames, numbers, (cid, name, tsize) => {
      const links = [{ cid, name, tsize }]
      assert.equal(encodeDirectoryNode(links).length, linkLength(cid.length, name.length, tsize) + 4)
      assert.equal(directoryNodeLength(links), encodeDirectoryNode(links).length)
    }),
    RUNS,
  )
})

test('a file node reads back as it was written, and as the JavaScript libraries write and read it', () => {
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 20 }), mode, (links, mode) => {
      const bytes = encodeFileNode(mode === undefined ? { links } : { links, mode })
      const total = links.reduce((sum, { size }) => sum + size, 0)

      const node = decodeNode(bytes)
      assert.deepEqual(
        node.links.map(({ cid, name, tsize }) => [hex(cid), name?.length, tsize]),
        links.map(({ cid, tsize }) => [hex(cid), 0, tsize]),
      )
      assert.equal(node.data?.type, 'file')
      assert.equal(node.data?.fileSize, total)
      assert.equal(node.data?.mode, mode)
      assert.deepEqual(
        node.data?.blockSizes,
        links.map(({ size }) => size),
      )

      const theirs = dagPb.decode(bytes)
      assert.deepEqual(
        theirs.Links.map(link => [link.Hash.toString(), link.Tsize]),
        links.map(({ cid, tsize }) => [CID.decode(cid).toString(), tsize]),
      )
      const unixfs = UnixFS.unmarshal(theirs.Data!)
      assert.equal(unixfs.type, 'file')
      assert.equal(Number(unixfs.fileSize()), total)
      if (mode !== undefined) assert.equal(unixfs.mode, mode)
    }),
    RUNS,
  )
})

test('what @ipld/dag-pb and ipfs-unixfs write is read', () => {
  const types = fc.constantFrom('raw', 'file') as fc.Arbitrary<'raw' | 'file'>
  const data = fc.option(fc.uint8Array({ maxLength: 300 }), { nil: undefined })
  const mtime = fc.option(fc.record({ secs: fc.bigInt(-(2n ** 40n), 2n ** 40n), nsecs: fc.nat(999_999_999) }), {
    nil: undefined,
  })
  // ipfs-unixfs 13 writes sizes from 2^31 to 2^32 wrongly, as zeros of five bytes.
  const size = fc.nat(2 ** 27)
  const links = fc.array(fc.record({ cid: cids, size, tsize: numbers }), { maxLength: 8 })
  fc.assert(
    fc.property(types, data, links, mode, mtime, (type, data, links, mode, mtime) => {
      const unixfs = new UnixFS({ type, ...(data && { data }), mode, ...(mtime && { mtime }) })
      for (const { size } of links) unixfs.addBlockSize(BigInt(size))
      const bytes = dagPb.encode(
        dagPb.prepare({
          Data: unixfs.marshal(),
          Links: links.map(({ cid, tsize }) => ({ Hash: CID.decode(cid), Name: '', Tsize: tsize })),
        }),
      )
      const node = decodeNode(bytes)
      assert.equal(node.data?.type, type)
      assert.deepEqual(Buffer.from(node.data?.data ?? []), Buffer.from(data ?? []))
      if (data !== undefined && data.length > 0) {
        const { dataStart } = node.data!
        assert.deepEqual(Buffer.from(bytes.subarray(dataStart, dataStart + data.length)), Buffer.from(data))
      }
      assert.deepEqual(
        node.data?.blockSizes,
        links.map(({ size }) => size),
      )
      assert.equal(node.links.length, links.length)
    }),
    RUNS,
  )
})

test('a directory reads back with names of any bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ cid: cids, name: byteNames, tsize: numbers }), { maxLength: 20 }), links => {
      const node = decodeNode(encodeDirectoryNode(links))
      assert.equal(node.data?.type, 'directory')
      assert.deepEqual(
        node.links.map(({ cid, name, tsize }) => [hex(cid), hex(name!), tsize]),
        links.map(({ cid, name, tsize }) => [hex(cid), hex(name), tsize]),
      )
    }),
    RUNS,
  )
})

test('a directory with UTF-8 names is what the JavaScript libraries write', () => {
  const entries = fc.uniqueArray(fc.record({ cid: cids, name: textNames, tsize: numbers }), {
    selector: entry => hex(entry.name),
    maxLength: 20,
  })
  fc.assert(
    fc.property(entries, links => {
      links.sort((a, b) => Buffer.compare(a.name, b.name))
      const theirs = dagPb.encode(
        dagPb.prepare({
          Data: new UnixFS({ type: 'directory' }).marshal(),
          Links: links.map(({ cid, name, tsize }) => ({
            Hash: CID.decode(cid),
            Name: name.toString('utf8'),
            Tsize: tsize,
          })),
        }),
      )
      assert.equal(hex(encodeDirectoryNode(links)), hex(theirs))
    }),
    RUNS,
  )
})

test('symlinks and shards read back', () => {
  const target = Buffer.from(`../${'x'.repeat(200)}`)
  const link = decodeNode(encodeSymlinkNode(target))
  assert.equal(link.data?.type, 'symlink')
  assert.deepEqual(link.data?.data, target)

  const bitfield = Buffer.from([1, 0, 0x80])
  const shard = decodeNode(encodeShardNode([{ cid: leaf, name: Buffer.from('00a'), tsize: 1 }], bitfield, 256))
  assert.equal(shard.data?.type, 'hamt-shard')
  assert.deepEqual(shard.data?.data, bitfield)
  assert.equal(shard.data?.hashType, 0x22)
  assert.equal(shard.data?.fanout, 256)
})

const LINK = `12 2a 0a24 ${leafHex} 1200 18 05`

test('unusual but valid nodes are read', () => {
  const valid: [what: string, bytes: string, check: (node: ReturnType<typeof decodeNode>) => void][] = [
    ['nothing at all', '', node => assert.deepEqual(node, { links: [], data: undefined })],
    ['links without data', LINK, node => assert.equal(node.links.length, 1)],
    ['data before links', `0a06 0802 1805 2005 ${LINK}`, node => assert.equal(node.links[0]?.tsize, 5)],
    ['packed block sizes', `${LINK} 0a07 0802 1805 220105`, node => assert.deepEqual(node.data?.blockSizes, [5])],
    ['no Tsize', `12 28 0a24 ${leafHex} 1200 0a02 0801`, node => assert.equal(node.links[0]?.tsize, undefined)],
    ['no Name', `12 26 0a24 ${leafHex} 0a02 0801`, node => assert.equal(node.links[0]?.name, undefined)],
    [
      'long varints',
      `0a8400 088280808000`.replace('0a8400', '0a868000'),
      node => assert.equal(node.data?.type, 'file'),
    ],
    ['high bits of the mode', '0a07 0801 38edc38208', node => assert.equal(node.data?.mode, 0o755)],
    ['unknown fields', '0a0c 0801 48 05 52 0161 5d 00000000', node => assert.equal(node.data?.type, 'directory')],
    ['the last of two types', '0a04 0801 0804', node => assert.equal(node.data?.type, 'symlink')],
    ['an mtime', '0a0b 0801 4207 0805 1500000000', node => assert.equal(node.data?.type, 'directory')],
  ]
  for (const [what, bytes, check] of valid) {
    try {
      check(decodeNode(Buffer.from(bytes.replaceAll(' ', ''), 'hex')))
    } catch (cause) {
      throw new Error(what, { cause })
    }
  }
})

test('malformed nodes are format errors', () => {
  const invalid: [what: string, bytes: string][] = [
    ['another field of the node', '1a00'],
    ['a number where bytes belong', '0805'],
    ['a length past the end', '0a03 0801'],
    ['two data fields', '0a02 0801 0a02 0801'],
    ['links on both sides of the data', `${LINK} 0a02 0801 ${LINK}`],
    ['a link without a CID', '12 04 1200 1805'],
    ['a CID that is none', '12 05 0a03 020304'],
    ['bytes after a CID', '12 07 0a05 0155000000'],
    ['Name before Hash', `12 28 1200 0a24 ${leafHex}`],
    ['two Hashes', `12 4c 0a24 ${leafHex} 0a24 ${leafHex}`],
    ['another field of a link', `12 28 0a24 ${leafHex} 2200`],
    ['a Tsize as bytes', `12 28 0a24 ${leafHex} 1a00`],
    ['a Tsize of 2^53', `12 2f 0a24 ${leafHex} 18 8080808080808010`],
    ['empty data', '0a00'],
    ['no type', '0a02 1800'],
    ['an unknown type', '0a02 0806'],
    ['a type as bytes', '0a02 0a00'],
    ['data as a number', '0a04 0802 1005'],
    ['a mode over 32 bits', '0a08 0801 38 8080808010'],
    ['a group', '0a04 0801 4b 4c'],
    ['field 0', '0a04 0801 0000'],
    ['fewer block sizes than links', `${LINK} 0a04 0802 1800`],
    ['more block sizes than links', '0a06 0802 1805 2005'],
    ['a file size that is not the sum', `${LINK} 0a06 0802 1806 2005`],
    ['a varint of eleven bytes', '0a0d 0880808080808080808080 00 00'],
    ['a varint cut short', '0a80'],
  ]
  for (const [what, bytes] of invalid) {
    assert.throws(() => decodeNode(Buffer.from(bytes.replaceAll(' ', ''), 'hex')), FormatError, what)
  }
})

test('a block over the size limit is a format error', () => {
  assert.throws(() => decodeNode(Buffer.alloc(2 * 1024 * 1024 + 1)), FormatError)
})

test('a block of very many links is a format error', () => {
  const link = Buffer.from('12060a0401550000', 'hex')
  assert.equal(decodeNode(Buffer.concat(Array(65_536).fill(link))).links.length, 65_536)
  assert.throws(() => decodeNode(Buffer.concat(Array(65_537).fill(link))), FormatError)
})

test('hostile bytes are read or are format errors, nothing else', () => {
  // Short CIDs, so that most of the damage hits the structure.
  const cid = fc.uint8Array({ maxLength: 3 }).map(bytes => identityCid(bytes))
  const parts = fc.record({ cid, size: numbers, tsize: numbers })
  const entries = fc.record({ cid, name: fc.uint8Array({ maxLength: 4 }), tsize: numbers })
  const nodes = fc.oneof(
    fc.array(parts, { maxLength: 6 }).map(links => encodeFileNode({ links, mode: 0o555 })),
    fc.array(entries, { maxLength: 6 }).map(links => encodeDirectoryNode(links)),
    fc.uint8Array({ maxLength: 8 }).map(target => encodeSymlinkNode(target)),
    fc.uint8Array({ maxLength: 4 }).map(bits => encodeShardNode([], bits, 256)),
  )
  const damage = fc.array(fc.record({ at: fc.nat(999), byte: fc.nat(255) }), { minLength: 1, maxLength: 5 })
  let refused = 0
  fc.assert(
    fc.property(nodes, damage, fc.nat(3999), (node, changes, cut) => {
      for (const { at, byte } of changes) node[at % node.length] = byte
      const bytes = cut < 1000 ? node.subarray(0, cut % node.length) : node
      try {
        decodeNode(bytes)
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error))
        refused++
      }
    }),
    { seed: RUNS.seed, numRuns: 5000 },
  )
  assert.ok(refused > 1000, `only ${refused} refused`)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), bytes => {
      try {
        decodeNode(bytes)
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error))
      }
    }),
    { seed: RUNS.seed, numRuns: 5000 },
  )
})
