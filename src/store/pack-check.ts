import type { BlockLocation, BlockRow } from '../blocks/types.ts'
import type { NodeId, PathRecord, StoreIndex } from '../index/types.ts'

/** What one part of a pack says. */
export interface PackContents {
  blocks: readonly BlockRow[]
  records: readonly PathRecord[]
}

/** A pack to be read once. */
export interface PackReading {
  number: number
  file: string
  /** In the order in which it was written; in the end, up to which byte it can be read, and why no further. */
  contents: Generator<PackContents, { end: number; why: string }>
}

/** The packs of a state. */
export interface Packs {
  /** Those that are there, by number, when the first one is asked for. */
  read(): Iterable<PackReading>
  fileOf(pack: number): string
}

/** A pack from which the index could not be made again. */
export interface PackProblem {
  pack: number
  file: string
  why: string
  /** Blocks that the index has from this byte on are those that would not be found. */
  from: number
}

export interface PackCheck {
  problems: PackProblem[]
  /** Base names of paths of whose record the packs have no copy that counts. */
  unrecorded: Set<string>
}

interface Counts {
  file: string
  end: number
  why: string
  /** Rows of its tables that the index has with the same place and checksums. */
  matched: number
  /** Blocks that the index has in the part that can be read, and behind it. */
  within: number
  beyond: number
}

/**
 * Whether the packs alone have all that the index has: every block in a table that can be read, as the index has it, and
 * of every path's record a copy, the last of which says the same. What lies behind the last block that is used does not
 * count, nor what the index does not have. Throws DamagedError for a damaged index, StateError.
 *
 * Others may write meanwhile, so all of it is one snapshot of the index: it begins before the first pack is opened, and
 * nothing here waits. Memory is some numbers for each path and pack, and a batch.
 */
export function checkPacks(index: StoreIndex, packs: Packs): PackCheck {
  index.refresh()
  index.generation()
  const counts = new Map<number, Counts>()
  const recorded = new Set<NodeId>()
  for (const { number, file, contents } of packs.read()) {
    let matched = 0
    let next = contents.next()
    for (; next.done !== true; next = contents.next()) {
      for (const { multihash, location } of next.value.blocks) if (isSame(index.locate(multihash), location)) matched++
      for (const copy of next.value.records) noteCopy(index, copy, recorded)
    }
    counts.set(number, { ...next.value, file, matched, within: 0, beyond: 0 })
  }
  for (const { location } of index.blocks()) {
    let pack = counts.get(location.pack)
    if (pack === undefined) {
      pack = {
        file: packs.fileOf(location.pack),
        end: 0,
        why: 'there is no such file',
        matched: 0,
        within: 0,
        beyond: 0,
      }
      counts.set(location.pack, pack)
    }
    // An empty block may lie at the very end.
    if (location.offset + location.length > pack.end || location.offset > pack.end) pack.beyond++
    else pack.within++
  }
  const unrecorded = new Set<string>()
  for (const { baseName, firstNode } of index.paths()) if (!recorded.has(firstNode)) unrecorded.add(baseName)
  return { problems: [...counts].flatMap(([pack, counts]) => problemOf(pack, counts)), unrecorded }
}

function problemOf(pack: number, { file, end, why, matched, within, beyond }: Counts): PackProblem[] {
  if (within !== matched) {
    const strangers = Math.abs(within - matched)
    return [{ pack, file, from: 0, why: `its tables have ${strangers} blocks otherwise than the index` }]
  }
  if (beyond === 0) return []
  return [{ pack, file, from: end, why: `${why}; without the index ${beyond} blocks in it could not be found` }]
}

function isSame(known: BlockLocation | undefined, { pack, offset, length, checksums }: BlockLocation): boolean {
  return (
    known !== undefined &&
    known.pack === pack &&
    known.offset === offset &&
    known.length === length &&
    known.checksums.every((checksum, i) => checksum === checksums[i])
  )
}

/** Of several copies of a record the last one counts, as when the index is made again. */
function noteCopy(index: StoreIndex, copy: PathRecord, recorded: Set<NodeId>): void {
  const known = index.path(copy.baseName)
  if (known === undefined) return
  if (essence(index, known).equals(essence(index, copy))) recorded.add(known.firstNode)
  else recorded.delete(known.firstNode)
}

/** An index that was made again has other node ids; two that add the same path at once differ in the time. */
function essence(index: StoreIndex, record: PathRecord): Buffer {
  return index.encodePath({ ...record, firstNode: 0 as NodeId, registrationTime: 0 })
}
