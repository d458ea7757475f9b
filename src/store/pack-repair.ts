import type { BlockReader, BlockRow, BlockStaging } from '../blocks/types.ts'
import { readCid } from '../cid.ts'
import type { StoreIndex } from '../index/types.ts'
import type { PackCheck, PackProblem } from './pack-check.ts'
import { byPlace, goodBlock, rawCidOf } from './repair.ts'

/** Blocks that are copied before the index learns of it. */
const GROUP_ROWS = 32_768
const GROUP_BYTES = 64 * 1024 * 1024

export interface PackRepair {
  /** Copied to a new pack. */
  blocks: number
  /** Records of paths of which a copy was written. */
  records: number
}

/**
 * Makes the packs have all that the index has: blocks that could not be found without it are copied to a new pack, if
 * they are still good, and records of paths are written there. The index has a block at its old place until the new one
 * is on the disk, so that a crash at any point harms nothing, and a repair that was cut short is done again. Blocks that
 * are not good stay as they are. `blocks` reads also from packs with a damaged header; `staging` takes what is known.
 */
export async function repairPacks(
  index: StoreIndex,
  { problems, unrecorded }: PackCheck,
  blocks: BlockReader,
  staging: BlockStaging,
): Promise<PackRepair> {
  const result: PackRepair = { blocks: 0, records: 0 }
  const commit = async () => {
    const rows = await staging.sync()
    index.commitBlocks(rows)
    result.blocks += rows.length
  }
  for (const group of rowsToMove(index, problems)) {
    for (const { multihash } of group) {
      const bytes = goodBlock(blocks, multihash)
      if (bytes === undefined) continue
      if (staging.full) await staging.drain()
      staging.put(readCid(rawCidOf(multihash))!.digest, bytes)
      if (staging.pendingBytes >= GROUP_BYTES) await commit()
    }
    await commit()
  }
  for (const baseName of unrecorded) {
    const record = index.path(baseName)
    if (record === undefined) continue
    staging.record(index.encodePath(record))
    result.records++
  }
  await commit()
  await index.flushed()
  return result
}

/**
 * The blocks that the problems are about, in the order in which they lie in the packs, so that a file's leaves stay
 * together. The index has them by hash: each group is the next ones of all, found in a pass of its own.
 */
function* rowsToMove(index: StoreIndex, problems: readonly PackProblem[]): Generator<BlockRow[]> {
  const starts = new Map(problems.map(({ pack, from }) => [pack, from]))
  if (starts.size === 0) return
  for (let last: BlockRow | undefined; ; ) {
    let group: BlockRow[] = []
    for (const row of index.blocks()) {
      const { pack, offset } = row.location
      const start = starts.get(pack)
      if (start === undefined || offset < start || (last !== undefined && byPlace(row, last) <= 0)) continue
      if (group.push(row) === 2 * GROUP_ROWS) group = group.sort(byPlace).slice(0, GROUP_ROWS)
    }
    group = group.sort(byPlace).slice(0, GROUP_ROWS)
    last = group.at(-1)
    if (last === undefined) return
    yield group
  }
}
