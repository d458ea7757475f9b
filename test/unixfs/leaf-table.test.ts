import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type CidBytes, cidText, identityCid, parseCid, rawCid, readCid, sha256 } from '../../src/cid.ts'
import { FormatError, MissingBlockError } from '../../src/errors.ts'
import { BalancedDag } from '../../src/unixfs/balanced.ts'
import { type GetBlock, loadBlock } from '../../src/unixfs/get-block.ts'
import { coverLeaves, fileLeaves, fileSlices, loadFile } from '../../src/unixfs/leaf-table.ts'
import { encodeDirectoryNode, encodeFileNode } from '../../src/unixfs/node.ts'
import type { Leaf } from '../../src/unixfs/types.ts'
import { kuboRepo } from '../helpers/kubo.ts'
import { seededRandom } from '../helpers/random-tree.ts'
import { blocksOf, bytesOf, getFrom, StrictBlocks } from './support.ts'

const SEED = 20260404

/** A file of `count` raw leaves of 1 to 40 bytes each. */
function fileOf(seed: number, count: number) {
  const blocks = new StrictBlocks()
  const dag = new BalancedDag(blocks)
  const next = seededRandom(seed)
  const leaves: Leaf[] = []
  const contents: Buffer[] = []
  for (let i = 0; i < count; i++) {
    const bytes = bytesOf(next() * 2 ** 32, 1 + Math.floor(next() * 40))
    const digest = sha256(bytes)
    blocks.put(digest, bytes)
    const cid = rawCid(digest)
    dag.add(cid, bytes.length, bytes.length)
    leaves.push({ cid, start: 0, length: bytes.length })
    contents.push(bytes)
  }
  return { ...dag.finish(), blocks, leaves, contents: Buffer.concat(contents) }
}

function read(get: GetBlock, slices: Iterable<Leaf>): Buffer {
  return Buffer.concat([...slices].map(({ cid, start, length }) => loadBlock(get, cid).subarray(start, start + length)))
}

test('slices of any range are the bytes of that range', () => {
  const file = fileOf(1, 2500)
  const get = getFrom(file.blocks)
  const root = loadFile(get, file.cid)
  assert.equal(root.size, file.contents.length)
  assert.deepEqual([...fileLeaves(get, file.cid)], file.leaves)
  const offsets = fc.nat({ max: file.contents.length + 100 })
  const lengths = fc.oneof(fc.nat({ max: 200 }), offsets)
  fc.assert(
    fc.property(offsets, lengths, (offset, length) => {
      const expected = file.contents.subarray(offset, offset + length)
      const covered = coverLeaves(file.leaves, offset, length)
      assert.ok(read(get, covered).equals(expected))
      assert.deepEqual([...fileSlices(get, root, offset, length)], covered)
      let at = offset
      for (const slice of covered) {
        assert.equal(slice.offset, at)
        assert.ok(slice.length > 0)
        at += slice.length
      }
    }),
    { seed: SEED, numRuns: 200 },
  )
})

test('leaves that start within their block are cut there', () => {
  const cid = identityCid(Buffer.from('0123456789'))
  const leaves = [
    { cid, start: 2, length: 3 },
    { cid, start: 7, length: 2 },
  ]
  assert.deepEqual(coverLeaves(leaves, 1, 3), [
    { cid, start: 3, offset: 1, length: 2 },
    { cid, start: 7, offset: 3, length: 1 },
  ])
  assert.deepEqual(coverLeaves(leaves, 5, 10), [])
  assert.deepEqual(coverLeaves(leaves, 0, 0), [])
})

test('a range loads the interior nodes above it and no leaf', () => {
  const file = fileOf(2, 5000)
  const asked: string[] = []
  const get: GetBlock = cid => {
    asked.push(cidText(cid))
    return getFrom(file.blocks)(cid)
  }
  const root = loadFile(get, file.cid)
  const slices = [...fileSlices(get, root, file.contents.length - 10, 10)]
  assert.ok(slices.length >= 1)
  assert.deepEqual(asked, [cidText(file.cid), cidText(root.node!.links[4]!.cid)])
})

test('a raw root is its own leaf, in a block or in the CID', () => {
  const blocks = new StrictBlocks()
  const bytes = Buffer.from('contents')
  blocks.put(sha256(bytes), bytes)
  const cid = rawCid(sha256(bytes))
  assert.deepEqual([...fileLeaves(getFrom(blocks), cid)], [{ cid, start: 0, length: 8 }])
  const inline = identityCid(bytes)
  const never: GetBlock = () => assert.fail('an identity CID was asked for')
  assert.deepEqual([...fileLeaves(never, inline)], [{ cid: inline, start: 0, length: 8 }])
  assert.equal(loadFile(never, identityCid(Buffer.alloc(0))).size, 0)
  assert.deepEqual([...fileLeaves(never, identityCid(Buffer.alloc(0)))], [])
})

test('a missing node is named', () => {
  const file = fileOf(3, 1025)
  const root = loadFile(getFrom(file.blocks), file.cid)
  const child = root.node!.links[1]!.cid
  file.blocks.delete(readCid(child)!.multihash)
  assert.throws(
    () => [...fileLeaves(getFrom(file.blocks), file.cid)],
    (error: unknown) => error instanceof MissingBlockError && error.message.includes(cidText(child)),
  )
  assert.throws(() => [...fileLeaves(() => undefined, file.cid)], MissingBlockError)
})

test('a DAG whose sizes do not agree, or that is no file, is a format error', () => {
  const blocks = new StrictBlocks()
  const get = getFrom(blocks)
  const leaf = identityCid(Buffer.from('12345'))
  const node = (links: { cid: CidBytes; size: number }[]) =>
    blocks.putNode(encodeFileNode({ links: links.map(link => ({ ...link, tsize: 0 })) }))
  const inner = node([{ cid: leaf, size: 5 }])
  const directory = blocks.putNode(encodeDirectoryNode([]))
  const bad: [what: string, root: Buffer][] = [
    ['a child smaller than its parent says', node([{ cid: inner, size: 6 }])],
    ['a child larger than its parent says', node([{ cid: inner, size: 4 }])],
    ['a directory within a file', node([{ cid: directory, size: 4 }])],
    ['a directory', directory],
    ['another codec', Buffer.concat([Buffer.from([1, 0x71]), readCid(inner)!.multihash])],
    [
      'another codec within',
      node([{ cid: Buffer.concat([Buffer.from([1, 0x71]), readCid(inner)!.multihash]), size: 5 }]),
    ],
    ['no UnixFS at all', blocks.putNode(Buffer.alloc(0))],
    ['no CID', Buffer.from('none')],
    ['an identity CID that is too long', Buffer.concat([Buffer.from([1, 0x55, 0, 0x81, 0x01]), Buffer.alloc(129)])],
  ]
  for (const [what, root] of bad) assert.throws(() => [...fileLeaves(get, root)], FormatError, what)
})

test('a small DAG cannot make an endless walk', () => {
  const blocks = new StrictBlocks()
  const get = getFrom(blocks)
  const empty = identityCid(Buffer.alloc(0))
  let root = blocks.putNode(encodeFileNode({ links: [{ cid: empty, size: 0, tsize: 0 }] }))
  // 1000^20 paths to no bytes at all.
  for (let level = 0; level < 20; level++) {
    const link = { cid: root, size: 0, tsize: 0 }
    root = blocks.putNode(encodeFileNode({ links: Array(1000).fill(link) }))
  }
  assert.deepEqual([...fileLeaves(get, root)], [])

  root = blocks.putNode(encodeFileNode({ links: [{ cid: identityCid(Buffer.from('1')), size: 1, tsize: 0 }] }))
  for (let level = 0; level < 40; level++) {
    root = blocks.putNode(encodeFileNode({ links: [{ cid: root, size: 1, tsize: 0 }] }))
  }
  assert.throws(() => [...fileLeaves(get, root)], FormatError)
})

test('hostile blocks give leaves, a format error or a missing block, nothing else', () => {
  const file = fileOf(4, 1100)
  const all = [...file.blocks.entries()]
  const interior = all.filter(
    ([multihash]) => !file.leaves.some(leaf => readCid(leaf.cid)!.multihash.equals(multihash)),
  )
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(255), fc.nat(199), (which, at, byte, early) => {
      const [damaged, block] = interior[which % interior.length]!
      const bytes = Buffer.from(block)
      bytes[(early < 100 ? at % 200 : at) % bytes.length] = byte
      const get: GetBlock = cid =>
        readCid(cid)!.multihash.equals(damaged) ? bytes : file.blocks.get(readCid(cid)!.multihash)
      try {
        for (const leaf of fileLeaves(get, file.cid)) assert.ok(leaf.length > 0)
      } catch (error) {
        assert.ok(error instanceof FormatError || error instanceof MissingBlockError, String(error))
      }
    }),
    { seed: SEED, numRuns: 200 },
  )
})

test('files of other layouts that Kubo makes are read', async t => {
  const { ipfs } = await kuboRepo(t)
  const contents = bytesOf(5, 300_000)
  const layouts = [
    ['--cid-version=0', '--raw-leaves=false', '--chunker=size-1000', '--max-file-links=174'],
    ['--cid-version=1', '--raw-leaves=false', '--chunker=size-999', '--max-file-links=7'],
    ['--trickle', '--chunker=size-1000', '--max-file-links=5'],
    ['--trickle', '--raw-leaves=false', '--chunker=size-1000'],
    ['--chunker=rabin-512-1024-2048', '--max-file-links=3'],
    ['--raw-leaves=false', '--mode=0755', '--chunker=size-1000'],
  ]
  for (const layout of layouts) {
    const root = parseCid(
      ipfs(['add', '-Q', ...layout], contents)
        .toString()
        .trim(),
    )
    const blocks = blocksOf(ipfs(['dag', 'export', '--progress=false', cidText(root)]))
    const get = getFrom(blocks)
    const file = loadFile(get, root)
    assert.equal(file.size, contents.length, layout.join(' '))
    assert.ok(read(get, fileLeaves(get, root)).equals(contents), layout.join(' '))
    const slices = fileSlices(get, file, 123_456, 5000)
    assert.ok(read(get, slices).equals(contents.subarray(123_456, 128_456)), layout.join(' '))
    if (layout.includes('--mode=0755')) assert.equal(file.mode, 0o755)
  }
})
