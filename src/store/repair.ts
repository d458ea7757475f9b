import type { BlockReader, BlockRow } from '../blocks/types.ts'
import { codec, verifyBlock } from '../cid.ts'
import { NixIpfsError } from '../errors.ts'
import type { StoreIndex } from '../index/types.ts'

/** Rows that are looked at together, in the order in which their blocks lie in the packs. */
const GROUP_ROWS = 16_384

/**
 * Takes every block out of the index that the packs do not have as it should be, also those that no path uses or that
 * lie below a damaged one: whatever is in the index counts as stored when it is added again. Returns their number.
 */
export function dropDamagedBlocks(index: StoreIndex, blocks: BlockReader): number {
  let dropped = 0
  let group: BlockRow[] = []
  const check = () => {
    const inOrder = group.sort(({ location: a }, { location: b }) => a.pack - b.pack || a.offset - b.offset)
    const bad = inOrder.filter(({ multihash }) => !isGood(blocks, multihash)).map(({ multihash }) => multihash)
    if (bad.length > 0) index.removeBlocks(bad)
    dropped += bad.length
    group = []
  }
  for (const row of index.blocks()) {
    if (group.push(row) === GROUP_ROWS) check()
  }
  check()
  return dropped
}

function isGood(blocks: BlockReader, multihash: Uint8Array): boolean {
  try {
    const bytes = blocks.get(multihash)
    if (bytes === undefined) return false
    verifyBlock(Buffer.concat([Buffer.of(1, codec.raw), multihash]), bytes)
    return true
  } catch (error) {
    if (error instanceof NixIpfsError) return false
    throw error
  }
}
