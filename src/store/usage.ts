import type { CidBytes } from '../cid.ts'
import type { NodeEntry, PathRecord } from '../index/types.ts'
import type { StoreReader } from './reader.ts'

/** Blocks that are asked for at once. */
const CONCURRENCY = 32

/** Bytes of a path's files whose blocks are here; equal to its total size where nothing is missing. */
export async function bytesHere(
  store: StoreReader,
  record: PathRecord,
  has: (cid: CidBytes) => Promise<boolean>,
): Promise<number> {
  let bytes = 0
  const leaves = leavesOf(store, record)
  const worker = async () => {
    for (const { cid, length } of leaves) if (await has(cid)) bytes += length
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
  return bytes
}

/** True where every block that a mount needs for a path is among those that `has` knows. */
export function isWhole(store: StoreReader, record: PathRecord, has: (cid: CidBytes) => boolean): boolean {
  if (!has(record.root) || (record.nar !== undefined && !has(record.nar))) return false
  for (const { entry } of entriesOf(store, record)) {
    const node = store.node(entry.id)
    if (node.kind === 'directory' && !has(node.cid)) return false
    if (
      node.kind === 'file' &&
      !(has(node.cid) && store.index.leaves(node.cid, node.size, 0, node.size).every(({ cid }) => has(cid)))
    )
      return false
  }
  return true
}

function entriesOf(store: StoreReader, record: PathRecord): Iterable<{ entry: NodeEntry }> {
  const root = store.rootEntry(record)
  return root.kind === 'directory' ? store.below(root) : [{ entry: root }]
}

function* leavesOf(store: StoreReader, record: PathRecord) {
  for (const { entry } of entriesOf(store, record)) {
    const node = entry.kind === 'file' ? store.node(entry.id) : undefined
    if (node?.kind === 'file') yield* store.index.leaves(node.cid, node.size, 0, node.size)
  }
}
