import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryBlocks } from '../../src/blocks/memory.ts'
import { cidText, rawCid, sha256 } from '../../src/cid.ts'
import { BalancedDag } from '../../src/unixfs/balanced.ts'
import { fileLeaves } from '../../src/unixfs/leaf-table.ts'
import { decodeNode } from '../../src/unixfs/node.ts'
import { kuboRepo } from '../helpers/kubo.ts'
import { getFrom, hex } from './support.ts'

const zero = rawCid(sha256(Buffer.alloc(1)))

/** The DAG of a file of zeros in chunks of one byte, which gives many levels cheaply. */
function zeros(count: number, mode?: number) {
  const blocks = new MemoryBlocks()
  const dag = new BalancedDag(blocks)
  for (let i = 0; i < count; i++) dag.add(zero, 1, 1)
  return { ...dag.finish(mode), blocks }
}

test('one level, two, and their borders are those of Kubo', async t => {
  const { ipfs } = await kuboRepo(t)
  for (const count of [2, 1023, 1024, 1025, 2048, 2049]) {
    const expected = ipfs(['add', '-Q', '--only-hash', '--chunker', 'size-1'], Buffer.alloc(count))
    assert.equal(cidText(zeros(count).cid), expected.toString().trim(), `${count} leaves`)
  }
})

test('the border of the third level is that of Kubo', () => {
  // head -c COUNT /dev/zero | ipfs add -Q --only-hash --chunker size-1    (Kubo 0.42.0, profile unixfs-v1-2025)
  const expected: [count: number, cid: string][] = [
    [1024 * 1024, 'bafybeidxyazzjczfailg3arfccsskzpz37jc45qcaiemjlw3ev7vyu6lfm'],
    [1024 * 1024 + 1, 'bafybeihrw5qtel7xv3fsawispkageviggyzc4t57f4mvp3tdxcr5ekm2be'],
  ]
  for (const [count, cid] of expected) {
    const dag = zeros(count)
    assert.equal(cidText(dag.cid), cid)
    assert.equal(dag.size, count)
    // Full nodes of a level are all alike, so that few blocks are left.
    assert.ok(dag.blocks.size <= 6)
  }
})

test('sizes and leaves come back, and Tsize counts blocks as often as they are linked', () => {
  const { cid, size, tsize, blocks } = zeros(2050)
  const get = getFrom(blocks)
  const leaves = [...fileLeaves(get, cid)]
  assert.equal(size, 2050)
  assert.equal(leaves.length, 2050)
  assert.ok(leaves.every(leaf => leaf.length === 1 && hex(leaf.cid) === hex(zero)))
  const root = decodeNode(get(cid)!)
  assert.deepEqual(root.data?.blockSizes, [1024, 1024, 2])
  let bytes = 2050 + get(cid)!.length
  for (const link of root.links) bytes += get(link.cid)!.length
  assert.equal(tsize, bytes)
})

test('a mode goes on the root alone', () => {
  const { cid, blocks } = zeros(1025, 0o555)
  const get = getFrom(blocks)
  const root = decodeNode(get(cid)!)
  assert.equal(root.data?.mode, 0o555)
  for (const link of root.links) assert.equal(decodeNode(get(link.cid)!).data?.mode, undefined)
})

test('a builder is as new after finish', () => {
  const blocks = new MemoryBlocks()
  const dag = new BalancedDag(blocks)
  for (const count of [3000, 1, 0, 1025]) {
    for (let i = 0; i < count; i++) dag.add(zero, 1, 1)
    assert.deepEqual(dag.finish(0o555).cid, zeros(count, 0o555).cid)
  }
})
