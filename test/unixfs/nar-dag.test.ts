import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { cidText, codec, dagPbCid, identityCid, rawCid, readCid, sha256 } from '../../src/cid.ts'
import { NarWriter } from '../../src/nix/nar-writer.ts'
import { EMPTY_NAME, type TreeSink } from '../../src/nix/tree.ts'
import { loadBlock } from '../../src/unixfs/get-block.ts'
import { fileLeaves } from '../../src/unixfs/leaf-table.ts'
import { NarDag } from '../../src/unixfs/nar-dag.ts'
import { kuboRepo } from '../helpers/kubo.ts'
import { type Built, build, bytesOf, carOf, getFrom, hex, StrictBlocks, tellFile } from './support.ts'

const SEED = 20260405

/** A NAR as its producer gives it: framing in any pieces, contents as leaves. */
type Part = { framing: Uint8Array } | { leaf: Uint8Array }

function dagOf(parts: readonly Part[]) {
  const blocks = new StrictBlocks()
  const dag = new NarDag(blocks)
  for (const part of parts) {
    if ('framing' in part) {
      dag.framing(part.framing)
    } else {
      const digest = sha256(part.leaf)
      blocks.put(digest, part.leaf)
      dag.leaf(rawCid(digest), part.leaf.length)
    }
  }
  return { ...dag.finish(), blocks }
}

/** The same DAG by the design's words and other people's coders: whole levels, cut in slices of 1024. */
function byOthers(parts: readonly Part[]) {
  let level: { cid: Uint8Array; size: number; tsize: number }[] = []
  let framing = Buffer.alloc(0)
  const cut = () => {
    for (let at = 0; at < framing.length; at += 128) {
      const piece = framing.subarray(at, at + 128)
      level.push({ cid: identityCid(piece), size: piece.length, tsize: 0 })
    }
    framing = Buffer.alloc(0)
  }
  for (const part of parts) {
    if ('framing' in part) {
      framing = Buffer.concat([framing, part.framing])
    } else {
      cut()
      level.push({ cid: rawCid(sha256(part.leaf)), size: part.leaf.length, tsize: part.leaf.length })
    }
  }
  cut()
  do {
    const next: typeof level = []
    for (let from = 0; from === 0 || from < level.length; from += 1024) {
      const links = level.slice(from, from + 1024)
      const unixfs = new UnixFS({ type: 'file' })
      for (const { size } of links) unixfs.addBlockSize(BigInt(size))
      const block = dagPb.encode(
        dagPb.prepare({
          Data: unixfs.marshal(),
          Links: links.map(({ cid, tsize }) => ({ Name: '', Hash: CID.decode(cid), Tsize: tsize })),
        }),
      )
      next.push({
        cid: dagPbCid(sha256(block)),
        size: links.reduce((sum, { size }) => sum + size, 0),
        tsize: links.reduce((sum, { tsize }) => sum + tsize, block.length),
      })
    }
    level = next
  } while (level.length > 1)
  return level[0]!
}

const bytesOfLength = (length: fc.Arbitrary<number>) =>
  fc.tuple(fc.nat(), length).map(([seed, length]) => bytesOf(seed, length))
const edges = fc.constantFrom(0, 1, 127, 128, 129, 255, 256, 257)
const part: fc.Arbitrary<Part> = fc.oneof(
  bytesOfLength(fc.oneof(edges, fc.nat(2000))).map(framing => ({ framing })),
  bytesOfLength(fc.integer({ min: 1, max: 300 })).map(leaf => ({ leaf })),
)

test('framing is cut in pieces of 128 bytes and a rest, contents are links to the leaves', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), parts => {
      const ours = dagOf(parts)
      const theirs = byOthers(parts)
      assert.equal(cidText(ours.cid), cidText(theirs.cid))
      assert.equal(ours.size, theirs.size)
      assert.equal(ours.tsize, theirs.tsize)
    }),
    { seed: SEED, numRuns: 100 },
  )
})

test('many leaves and much framing make more levels', () => {
  const many: Part[] = []
  for (let i = 0; i < 1500; i++) many.push({ framing: bytesOf(i, i % 300) }, { leaf: bytesOf(i, 1 + (i % 50)) })
  assert.equal(cidText(dagOf(many).cid), cidText(byOthers(many).cid))
  // Framing alone, in odd pieces, beyond what is kept waiting.
  const framing = Array.from({ length: 300 }, (_, i) => ({ framing: bytesOf(i, 997) }))
  assert.equal(cidText(dagOf(framing).cid), cidText(byOthers(framing).cid))
  assert.equal(cidText(dagOf([]).cid), cidText(byOthers([]).cid))
})

test('the pieces concatenate to what went in', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), parts => {
      const { cid, blocks } = dagOf(parts)
      const get = getFrom(blocks)
      const out = [...fileLeaves(get, cid)].map(leaf => loadBlock(get, leaf.cid))
      const expected = parts.map(part => ('framing' in part ? part.framing : part.leaf))
      assert.ok(Buffer.concat(out).equals(Buffer.concat(expected)))
    }),
    { seed: SEED, numRuns: 50 },
  )
})

/** The NAR of what `tell` tells. */
function narOf(tell: (sink: TreeSink) => void): Buffer {
  const parts: Buffer[] = []
  const writer = new NarWriter({
    framing: bytes => parts.push(Buffer.from(bytes)),
    contents: bytes => parts.push(Buffer.from(bytes)),
  })
  tell(writer)
  writer.finish()
  return Buffer.concat(parts)
}

function tellMany(sink: TreeSink): void {
  sink.directory(EMPTY_NAME)
  tellFile(sink, 'a', bytesOf(1, 2 * 1024 * 1024 + 5), true)
  tellFile(sink, 'b', Buffer.alloc(0))
  tellFile(sink, 'c', Buffer.alloc(0), true)
  sink.symlink(Buffer.from('d'), Buffer.from('x'.repeat(4000)))
  sink.directory(Buffer.from('e'))
  for (let i = 0; i < 700; i++) tellFile(sink, String(i).padStart(4, '0'), bytesOf(i, i % 40), i % 3 === 0)
  sink.endDirectory()
  tellFile(sink, Buffer.from([0xff, 0xfe]), Buffer.from('not UTF-8'))
  sink.endDirectory()
}

test('Kubo reads the NAR out of the NAR DAG, whole and in parts', async t => {
  const { ipfs } = await kuboRepo(t)
  const trees: ((sink: TreeSink) => void)[] = [
    sink => tellFile(sink, EMPTY_NAME, Buffer.from('a file')),
    sink => tellFile(sink, EMPTY_NAME, Buffer.alloc(0)),
    sink => sink.symlink(EMPTY_NAME, Buffer.from('/nix/store')),
    tellMany,
  ]
  for (const tell of trees) {
    const built = build(tell)
    const nar = narOf(tell)
    assert.equal(built.narSize, nar.length)
    assert.deepEqual(built.narHash, sha256(nar))
    ipfs(['dag', 'import', '--pin-roots=false'], carOf(built.blocks, built.nar))
    const cid = cidText(built.nar)
    assert.ok(ipfs(['cat', cid]).equals(nar))
    const middle = Math.floor(nar.length / 2)
    assert.ok(ipfs(['cat', '--offset', `${middle}`, '--length', '777', cid]).equals(nar.subarray(middle, middle + 777)))
    ipfs(['pin', 'add', cid])
  }
})

test('the NAR DAG has the leaves of the tree and no others, and empty files do not cut the framing', () => {
  const built: Built = build(tellMany)
  const treeLeaves = new Set<string>()
  for (const told of built.told) {
    if (told.kind !== 'file' || told.size === 0) continue
    for (const leaf of told.leaves ?? [{ cid: Buffer.from(told.cid, 'hex') }]) treeLeaves.add(hex(leaf.cid))
  }
  let before = 128
  let identity = 0
  for (const { cid, length } of fileLeaves(built.get, built.nar)) {
    const parts = readCid(cid)!
    assert.equal(parts.codec, codec.raw)
    if (parts.multihashCode !== 0) {
      // Short contents repeat, so that their leaf may have come before.
      assert.ok(treeLeaves.delete(hex(cid)) || length < 40)
      before = 128
      continue
    }
    // A short piece ends a run of framing, so that none follows a short one.
    assert.equal(before, 128)
    before = length
    identity++
  }
  assert.equal(treeLeaves.size, 0)
  assert.ok(identity > 1024)
})
