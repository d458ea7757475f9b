import type { CidBytes } from '../cid.ts'
import type { PathRecord } from '../index/types.ts'
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

function* leavesOf(store: StoreReader, record: PathRecord) {
  const root = store.rootEntry(record)
  const files = root.kind === 'directory' ? store.below(root) : [{ entry: root }]
  for (const { entry } of files) {
    const node = entry.kind === 'file' ? store.node(entry.id) : undefined
    if (node?.kind === 'file') yield* store.index.leaves(node.cid, node.size, 0, node.size)
  }
}
