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
    const bad = group.sort(byPlace).filter(({ multihash }) => goodBlock(blocks, multihash) === undefined)
    if (bad.length > 0) index.removeBlocks(bad.map(({ multihash }) => multihash))
    dropped += bad.length
    group = []
  }
  for (const row of index.blocks()) {
    if (group.push(row) === GROUP_ROWS) check()
  }
  check()
  return dropped
}

/** By place in the packs; an empty block lies where another begins. */
export function byPlace({ location: a, multihash: x }: BlockRow, { location: b, multihash: y }: BlockRow): number {
  return a.pack - b.pack || a.offset - b.offset || a.length - b.length || Buffer.compare(x, y)
}

/** The block, its bytes held against its hash; undefined where they are missing or others. */
export function goodBlock(blocks: BlockReader, multihash: Uint8Array): Buffer | undefined {
  try {
    const bytes = blocks.get(multihash)
    if (bytes !== undefined) verifyBlock(rawCidOf(multihash), bytes)
    return bytes
  } catch (error) {
    if (error instanceof NixIpfsError) return undefined
    throw error
  }
}

/** A CID of any codec will do to ask for the hash of a block. */
export function rawCidOf(multihash: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(1, codec.raw), multihash])
}
