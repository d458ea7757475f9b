import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { KuboNode } from '../blocks/kubo.ts'
import { KuboBlocks } from '../blocks/kubo-blocks.ts'
import { KuboStaging } from '../blocks/kubo-staging.ts'
import { kuboUrl } from '../blocks/kubo-url.ts'
import { currentOwner } from '../blocks/owner.ts'
import { type Batch, type PackEnd, packFileName } from '../blocks/pack-format.ts'
import { listPacks, readPacks, scanPacks } from '../blocks/pack-scan.ts'
import { PackStaging } from '../blocks/pack-staging.ts'
import { PackReader } from '../blocks/packs.ts'
import type { BlockPins, BlockReader, BlockStaging, FetchBlock } from '../blocks/types.ts'
import { type CidBytes, readCid } from '../cid.ts'
import { StateError, systemCode } from '../errors.ts'
import { LmdbIndex } from '../index/lmdb.ts'
import { decodePath } from '../index/record.ts'
import type { PathRecord } from '../index/types.ts'
import { type Logger, stderrLogger } from '../log.ts'
import { blockRoots, Ingest } from '../store/ingest.ts'
import { checkPacks, type PackCheck, type PackContents, type Packs } from '../store/pack-check.ts'
import { type PackRepair, repairPacks } from '../store/pack-repair.ts'
import { StoreReader } from '../store/reader.ts'
import { type Rebuilt, rebuildIndex } from '../store/rebuild.ts'
import { dropDamagedBlocks } from '../store/repair.ts'
import { openStateFolder, type StateFolder } from '../store/state.ts'
import { isWhole } from '../store/usage.ts'
import type { Config } from './config.ts'

/** The concrete store of one state folder. The only place where the parts are put together. */
export interface Store {
  config: Config
  state: StateFolder
  index: LmdbIndex
  reader: StoreReader
  log: Logger
  /** Where the block store collects garbage by itself. */
  blockPins: BlockPins | undefined
  /** True where the block store has the block without asking anybody else. */
  hasBlock(cid: CidBytes): Promise<boolean>
  /** What was fetched because it was not here, by where it came from. */
  fetched(): Record<string, { blocks: number; bytes: number }>
  /** Throws BlockStoreError where the block store does not answer. */
  checkBlocks(): Promise<void>
  ingest(options: { pin: boolean }): Ingest
  /**
   * Sees to it that damaged blocks are stored anew when their path is added again, and that the path is then read
   * again, whatever else is known of it.
   */
  dropBlocks(record: PathRecord, damaged: readonly CidBytes[]): Promise<void>
  /** The same for all blocks of the store, where it is ours; the number of those that were dropped. */
  dropDamaged(): number
  /** Whether the packs alone have all that the index has; always so where blocks lie elsewhere. */
  checkPacks(): PackCheck
  /** Makes them have it again. */
  repairPacks(check: PackCheck): Promise<PackRepair>
  close(): Promise<void>
}

/** What `--blocks` names. */
interface BlockBackend {
  blocks: BlockReader
  fetch: FetchBlock | undefined
  pins: BlockPins | undefined
  has(cid: CidBytes): Promise<boolean>
  isWhole(reader: StoreReader, record: PathRecord): boolean | Promise<boolean>
  fetched(): Record<string, { blocks: number; bytes: number }>
  dropBlocks(record: PathRecord, damaged: readonly CidBytes[]): Promise<void>
  dropDamaged(): number
  checkPacks(): PackCheck
  repairPacks(check: PackCheck): Promise<PackRepair>
  check(): Promise<void>
  staging(): BlockStaging
  close(): void
}

const KUBO_PREFIX = 'kubo:'

/** Opens the state; with `readOnly` also one that cannot be written to. Throws StateError. */
export function openStore(config: Config, { readOnly = false } = {}): Store {
  const state = openStateFolder(config.state, config.blocks)
  if (indexIsLost(state)) {
    throw new StateError(
      `${state.index}: the index is gone, the packs are there; nix-ipfs-mount verify --repair rebuilds it from them`,
    )
  }
  const index = openIndex(state, readOnly)
  const backend = state.blocks.startsWith(KUBO_PREFIX) ? kuboBackend(state, config) : packBackend(state, index)
  const reader = new StoreReader(index, backend.blocks, backend.fetch)
  return {
    config,
    state,
    index,
    reader,
    log: stderrLogger(config.verbose),
    blockPins: backend.pins,
    hasBlock: backend.has,
    fetched: backend.fetched,
    checkBlocks: backend.check,
    dropBlocks: backend.dropBlocks,
    dropDamaged: backend.dropDamaged,
    checkPacks: backend.checkPacks,
    repairPacks: backend.repairPacks,
    ingest: ({ pin }) =>
      new Ingest({
        index,
        pin,
        staging: backend.staging(),
        blockPins: backend.pins,
        isWhole: record => backend.isWhole(reader, record),
      }),
    close: async () => {
      backend.close()
      await index.close()
    },
  }
}

function indexIsLost(state: StateFolder): boolean {
  return !existsSync(join(state.index, 'data.mdb')) && listPacks(state.packs).length > 0
}

/**
 * Makes a lost index again from the packs, while nobody else does; undefined where it is not lost. Throws StateError,
 * DamagedError.
 */
export async function rebuildStore(config: Config): Promise<(Rebuilt & { log: Logger }) | undefined> {
  const state = openStateFolder(config.state, config.blocks)
  if (!indexIsLost(state)) return undefined
  // Made aside, so that a rebuild that is cut short leaves the index lost, and not a part of it.
  const aside = `${state.index}.new`
  rmSync(aside, { recursive: true, force: true })
  const rebuilt = await rebuildInto(aside, state.packs)
  rmSync(state.index, { recursive: true, force: true })
  renameSync(aside, state.index)
  return { ...rebuilt, log: stderrLogger(config.verbose) }
}

async function rebuildInto(folder: string, packs: string): Promise<Rebuilt> {
  const index = LmdbIndex.open(folder)
  const blocks = new PackReader(packs, index)
  try {
    const last = listPacks(packs).at(-1) ?? 0
    // Numbers are never used again.
    while (index.allocatePack(currentOwner()) < last);
    return await rebuildIndex(index, blocks, packContents(packs))
  } finally {
    blocks.close()
    await index.close()
  }
}

function* packContents(folder: string): Generator<PackContents> {
  for (const batch of scanPacks(folder)) yield contentsOf(batch)
}

function contentsOf({ blocks, records }: Batch): PackContents {
  return { blocks, records: records.map(decodePath).filter(record => record !== undefined) }
}

function packsIn(folder: string): Packs {
  return {
    fileOf: pack => join(folder, packFileName(pack)),
    *read() {
      for (const { number, file, batches } of readPacks(folder)) yield { number, file, contents: decoded(batches) }
    },
  }
}

function* decoded(batches: Generator<Batch, PackEnd>): Generator<PackContents, PackEnd> {
  for (;;) {
    const next = batches.next()
    if (next.done === true) return next.value
    yield contentsOf(next.value)
  }
}

function packBackend(state: StateFolder, index: LmdbIndex): BlockBackend {
  const blocks = new PackReader(state.packs, index)
  const known = (multihash: Uint8Array) => index.locate(multihash) !== undefined
  const staging = (known: (multihash: Uint8Array) => boolean) =>
    new PackStaging(state.packs, { epoch: index.epoch, allocate: () => index.allocatePack(currentOwner()), known })
  return {
    blocks,
    fetch: undefined,
    pins: undefined,
    has: async cid => known(readCid(cid)?.multihash ?? cid),
    isWhole: (reader, record) => isWhole(reader, record, cid => known(readCid(cid)?.multihash ?? cid)),
    fetched: () => ({}),
    dropBlocks: async ({ root }, damaged) =>
      index.removeBlocks([root, ...damaged].map(cid => readCid(cid)?.multihash ?? cid)),
    dropDamaged: () => dropDamagedBlocks(index, blocks),
    checkPacks: () => checkPacks(index, packsIn(state.packs)),
    repairPacks: async check => {
      mkdirSync(state.packs, { recursive: true })
      const salvage = new PackReader(state.packs, index, { anyHeader: true })
      const copies = staging(() => false)
      try {
        return await repairPacks(index, check, salvage, copies)
      } finally {
        salvage.close()
        await copies.close()
      }
    },
    check: async () => {},
    staging: () => staging(known),
    close: () => blocks.close(),
  }
}

function kuboBackend(state: StateFolder, { deadline }: Config): BlockBackend {
  const node = new KuboNode({ url: kuboUrl(state.blocks.slice(KUBO_PREFIX.length)), deadline })
  const blocks = new KuboBlocks(node)
  return {
    blocks,
    fetch: cid => blocks.fetch(cid),
    pins: node,
    has: cid => node.has(cid),
    fetched: () => ({ [state.blocks]: { ...blocks.fetched } }),
    // What no pin keeps may have gone.
    isWhole: (_, record) => node.pinned(blockRoots(record)),
    dropBlocks: async (record, damaged) => {
      // Kubo neither lets go of a block that is pinned nor writes over one that it has.
      await node.remove(blockRoots(record))
      await node.removeBlocks(damaged)
    },
    // The others of its blocks are not ours to look at.
    dropDamaged: () => 0,
    checkPacks: () => ({ problems: [], unrecorded: new Set() }),
    repairPacks: async () => ({ blocks: 0, records: 0 }),
    check: () => node.check(),
    staging: () => new KuboStaging(node),
    close: () => {},
  }
}

/** Reading commands work on a state that is not theirs to write, such as root's or one on read-only media. */
function openIndex(state: StateFolder, readOnly: boolean): LmdbIndex {
  try {
    return LmdbIndex.open(state.index)
  } catch (cause) {
    const denied = cause instanceof StateError && ['EROFS', 'EACCES', 'EPERM'].includes(systemCode(cause.cause) ?? '')
    if (readOnly && denied) return LmdbIndex.open(state.index, { readOnly: true })
    throw cause
  }
}
