import { readCid } from '../cid.ts'
import type { PathRecord } from '../index/types.ts'
import type { StoreReader } from './reader.ts'

/** Bytes of a path's files whose blocks are here; equal to its total size where nothing is missing. */
export function bytesHere(store: StoreReader, record: PathRecord): number {
  let bytes = 0
  const root = store.rootEntry(record)
  const files = root.kind === 'directory' ? store.below(root) : [{ entry: root }]
  for (const { entry } of files) {
    const node = entry.kind === 'file' ? store.node(entry.id) : undefined
    if (node?.kind !== 'file') continue
    for (const { cid, length } of store.index.leaves(node.cid, node.size, 0, node.size)) {
      const multihash = readCid(cid)?.multihash
      if (multihash !== undefined && store.blocks.has(multihash)) bytes += length
    }
  }
  return bytes
}
