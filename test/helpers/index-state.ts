import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { currentOwner } from '../../src/blocks/owner.ts'
import { PackStaging } from '../../src/blocks/pack-staging.ts'
import { PackReader } from '../../src/blocks/packs.ts'
import { dagPbCid, rawCid, readCid, sha256 } from '../../src/cid.ts'
import { LmdbIndex } from '../../src/index/lmdb.ts'
import type { NodeId, PathRecord } from '../../src/index/types.ts'
import type { Leaf } from '../../src/unixfs/types.ts'
import { baseNameOf, stagePath, type Tree } from './index-trees.ts'

/** Index and packs of one folder, as the program puts them together. */
export interface TestState {
  index: LmdbIndex
  staging: PackStaging
  reader: PackReader
  close(): Promise<void>
}

export function openTestState(folder: string): TestState {
  const packs = join(folder, 'packs')
  mkdirSync(packs, { recursive: true })
  const index = LmdbIndex.open(join(folder, 'index'))
  const staging = new PackStaging(packs, {
    epoch: index.epoch,
    allocate: () => index.allocatePack(currentOwner()),
    known: multihash => index.locate(multihash) !== undefined,
  })
  const reader = new PackReader(packs, index)
  const close = async () => {
    reader.close()
    await staging.close()
    await index.close()
  }
  return { index, staging, reader, close }
}

/** Adds a path whose tree and bytes depend on the seed alone; its base name. */
export async function addRandomPath({ index, staging }: TestState, seed: string): Promise<string> {
  const baseName = baseNameOf(seed)
  const random = createHash('shake128', { outputLength: 4000 }).update(seed).digest()
  let used = 0
  const next = () => random[used++ % random.length]!
  const bytesOf = (size: number, name: string) =>
    createHash('shake128', { outputLength: size }).update(`${seed} ${name}`).digest()
  const store = (bytes: Buffer) => {
    const digest = sha256(bytes)
    staging.put(digest, bytes)
    return rawCid(digest)
  }
  const entries: [string, Tree][] = Array.from({ length: 10 + (next() % 40) }, (_, i) => {
    const name = `file ${i}`
    if (next() < 30) return [name, { kind: 'symlink', target: `${next()}` }]
    // Some files are the same in every path, so that paths share blocks and leaf tables.
    const content = next() < 50 ? `shared ${next() % 8}` : name
    const shared = content !== name
    const make = (size: number, part: string) =>
      shared ? sharedBytes(size, `${content} ${part}`) : bytesOf(size, part)
    if (next() > 40) {
      const bytes = make(shared ? 3000 : 20 * next(), name.slice(0, shared ? 0 : undefined))
      return [name, { kind: 'file', size: bytes.length, cid: store(bytes) }]
    }
    const leaves: Leaf[] = [1000, 70_000, 5].map(size => {
      const bytes = make(size, `${size}${shared ? '' : name}`)
      return { cid: store(bytes), start: 0, length: size }
    })
    const cid = dagPbCid(sha256(Buffer.concat(leaves.map(({ cid }) => cid))))
    return [name, { kind: 'file', size: 71_005, executable: true, cid, leaves }]
  })
  const tree: Tree = { kind: 'directory', entries: [...entries, ['sub', { kind: 'directory', entries }]] }
  const { commit } = stagePath(index, baseName, tree)
  staging.record(index.encodePath(commit.record))
  index.commitBlocks(await staging.sync())
  index.commitPaths([commit], staging.takeReused())
  await index.flushed()
  return baseName
}

function sharedBytes(size: number, name: string): Buffer {
  return createHash('shake128', { outputLength: size }).update(name).digest()
}

/** Reads everything of the path: each node of its run once, each byte of its files, held against the CIDs. */
export function checkWholePath({ index, reader }: TestState, record: PathRecord): void {
  const seen = new Set<NodeId>()
  const visit = (id: NodeId): void => {
    assert.ok(!seen.has(id))
    seen.add(id)
    const node = index.node(id)
    assert.ok(node !== undefined, `node ${id} of ${record.baseName} is missing`)
    if (node.kind === 'directory') {
      const entries = [...index.entries(id, 0)]
      assert.equal(entries.length, node.entries)
      for (const entry of entries) {
        assert.equal(index.lookup(id, entry.name)?.id, entry.id)
        visit(entry.id)
      }
    } else if (node.kind === 'file') {
      let length = 0
      for (const leaf of index.leaves(node.cid, node.size, 0, node.size)) {
        const block = reader.get(readCid(leaf.cid)!.multihash)
        assert.ok(block !== undefined, `a block of ${record.baseName} is missing`)
        assert.ok(rawCid(sha256(block)).equals(leaf.cid))
        length += leaf.length
      }
      assert.equal(length, node.size)
    }
  }
  visit(record.firstNode)
  assert.equal(seen.size, record.entries)
  assert.equal(Math.min(...seen), record.firstNode)
  assert.equal(Math.max(...seen), record.firstNode + record.entries - 1)
}
