import type { BlockReader, BlockWriter } from '../blocks/types.ts'
import { readCid } from '../cid.ts'
import { DamagedError, NixIpfsError } from '../errors.ts'
import type { PathRecord, StoreIndex } from '../index/types.ts'
import { fullPath } from '../nix/store-path.ts'
import { TreeBuilder } from '../unixfs/builder.ts'
import { emitTree } from '../unixfs/tree-reader.ts'
import { ADD_PIN } from './ingest.ts'
import type { PackContents } from './pack-check.ts'

export interface Rebuilt {
  paths: number
  blocks: number
  /** Paths whose blocks are not all good, with the reason. */
  lost: { baseName: string; why: string }[]
}

/** Paths that become visible together. */
const COMMIT_PATHS = 256

/**
 * Fills a new index from what the packs say, in the order in which it was written: blocks first, then each path whose whole tree can still be read, built again from its
 * blocks and accepted only if its root and its narHash are those of its record. Paths that were forgotten are there
 * again, since packs do not know of it.
 */
export async function rebuildIndex(
  index: StoreIndex,
  blocks: BlockReader,
  packs: Iterable<PackContents>,
): Promise<Rebuilt> {
  const records = new Map<string, PathRecord>()
  const result: Rebuilt = { paths: 0, blocks: 0, lost: [] }
  for (const { blocks, records: found } of packs) {
    index.commitBlocks(blocks)
    result.blocks += blocks.length
    for (const record of found) records.set(record.baseName, record)
  }
  index.refresh()
  const all = [...records.values()]
  for (let at = 0; at < all.length; at += COMMIT_PATHS) {
    const part = all.slice(at, at + COMMIT_PATHS).flatMap(record => rebuildPath(index, blocks, record, result))
    const ids = index.assignNodes(part.map(({ record }) => record))
    index.commitPaths(
      part.map(({ record, nodes }, i) => ({
        record: { ...record, firstNode: ids[i]! },
        nodes,
        pin: { name: ADD_PIN, expires: undefined },
      })),
      Buffer.alloc(0),
    )
    result.paths += part.length
  }
  await index.flushed()
  return result
}

function rebuildPath(index: StoreIndex, blocks: BlockReader, record: PathRecord, result: Rebuilt) {
  const nodes = index.newNodes()
  const builder = new TreeBuilder({ writer: new NoWriter(), nodes })
  try {
    emitTree(cid => blocks.get(readCid(cid)?.multihash ?? cid), record.root, builder)
    const { root, narHash, entries } = builder.finish()
    if (Buffer.compare(root, record.root) !== 0 || !narHash.equals(record.narHash) || entries !== record.entries) {
      throw new DamagedError(`${fullPath(record.baseName)}: its blocks are not the tree of its record`)
    }
    return [{ record, nodes }]
  } catch (error) {
    builder.abandon()
    if (!(error instanceof NixIpfsError)) throw error
    result.lost.push({ baseName: record.baseName, why: error.message })
    return []
  }
}

/** The blocks are in the packs already. */
class NoWriter implements BlockWriter {
  #room = Buffer.alloc(0)

  reserve(size: number): Buffer {
    if (this.#room.length < size) this.#room = Buffer.allocUnsafe(size)
    return this.#room
  }

  put(): void {}
}
