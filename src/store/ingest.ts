import { setImmediate } from 'node:timers/promises'
import type { BlockPins, BlockStaging } from '../blocks/types.ts'
import type { CidBytes } from '../cid.ts'
import { RefusedError } from '../errors.ts'
import type { NodeRun, PathRecord, StoreIndex } from '../index/types.ts'
import { narHashText } from '../nix/hash.ts'
import type { ValidPath } from '../nix/local-store.ts'
import { NarParser } from '../nix/nar-reader.ts'
import { caText, fullPath, hashPart } from '../nix/store-path.ts'
import { TreeBuilder, type TreeResult } from '../unixfs/builder.ts'
import { type WalkProgress, walkFolder } from './folder.ts'
import { contentAddress, trustValidPath } from './trust.ts'

/** A path that is in the store now. */
export interface Added {
  baseName: string
  root: CidBytes
  nar: CidBytes | undefined
  narHash: Uint8Array
  narSize: number
  /** False where it was known before. */
  isNew: boolean
}

export interface IngestOptions {
  index: StoreIndex
  staging: BlockStaging
  /** Whether added paths are pinned; they are, by the pin name `add`, unless told otherwise. */
  pin: boolean
  /** False for a known path that lacks blocks, as after a repair: it is read again, and what is missing stored. */
  isWhole: (record: PathRecord) => boolean | Promise<boolean>
  /** Told of every pinned path, where the block store collects garbage by itself. */
  blockPins: BlockPins | undefined
}

/** What a path's files come from: fills the builder, yielding now and then. */
type Feed = (builder: TreeBuilder) => Iterable<void> | AsyncIterable<void>

type Metadata = Pick<PathRecord, 'references' | 'deriver' | 'ca' | 'signatures' | 'registrationTime' | 'trust'> & {
  baseName: string
}

interface StagedPath {
  record: PathRecord
  nodes: NodeRun
}

/** Blocks not yet in the index are entered at this many, so that memory stays bounded while a large tree is read. */
const MAX_PENDING_ROWS = 65_536

/** Staged paths are committed together up to these, because a commit waits for the disk. */
const COMMIT_BYTES = 64 * 1024 * 1024
const COMMIT_PATHS = 256

/** Name of the pin that adding a path sets. */
export const ADD_PIN = 'add'

/**
 * The way in: trees become blocks, node records and one path record each. A path is staged first and visible only
 * after {@link commit}, which has waited for the disk; a crash at any point leaves the store as before or after.
 */
export class Ingest {
  readonly progress: WalkProgress = { entries: 0, bytes: 0 }
  readonly #index: StoreIndex
  readonly #staging: BlockStaging
  readonly #pin: boolean
  readonly #blockPins: BlockPins | undefined
  readonly #isWhole: IngestOptions['isWhole']
  #staged: StagedPath[] = []
  /** Staged or known, in the order they were asked for. */
  #results: Added[] = []
  /** Known paths that were read again: what they lacked was stored anew. */
  readonly #readAgain = new Set<string>()

  constructor({ index, staging, pin, blockPins, isWhole }: IngestOptions) {
    this.#index = index
    this.#staging = staging
    this.#pin = pin
    this.#isWhole = isWhole
    this.#blockPins = pin ? blockPins : undefined
  }

  /** True when enough is staged to be worth a commit. */
  get due(): boolean {
    return this.#staged.length >= COMMIT_PATHS || this.#staging.pendingBytes >= COMMIT_BYTES
  }

  /** Stages a path that the local Nix database has, read from `folder`. */
  async addValidPath(valid: ValidPath, folder: string): Promise<void> {
    const known = this.#known(valid.baseName, valid.narHash)
    const record = this.#index.path(valid.baseName)
    if (known !== undefined && (record === undefined || (await this.#isWhole(record)))) {
      this.#results.push(known)
      return
    }
    await this.#stage(
      builder => walkFolder(folder, builder, this.progress),
      tree => ({
        baseName: valid.baseName,
        references: valid.references,
        deriver: valid.deriver,
        ca: valid.ca,
        signatures: [...valid.signatures].sort(),
        registrationTime: valid.registrationTime,
        trust: trustValidPath(valid, tree.narHash),
      }),
    )
  }

  /** Stages any file or folder as the path that `nix store add-path` gives it. */
  async addFolder(folder: string, name: string): Promise<void> {
    await this.#stage(
      builder => walkFolder(folder, builder, this.progress),
      tree => contentMetadata(name, tree),
    )
  }

  /** Stages a NAR as the path that its contents, unpacked, would have under this name. */
  async addNar(chunks: AsyncIterable<Uint8Array>, name: string): Promise<void> {
    await this.#stage(
      builder => this.#feedNar(builder, chunks),
      tree => contentMetadata(name, tree),
    )
  }

  async *#feedNar(builder: TreeBuilder, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<void> {
    const parser = new NarParser(builder)
    for await (const chunk of chunks) {
      parser.push(chunk)
      this.progress.bytes += chunk.length
      yield
    }
    parser.end()
  }

  async #stage(feed: Feed, describe: (tree: TreeResult) => Metadata): Promise<void> {
    const nodes = this.#index.newNodes()
    const builder = new TreeBuilder({ writer: this.#staging, nodes })
    try {
      for await (const _ of feed(builder)) {
        if (this.#staging.full) await this.#staging.drain()
        // Lets timers and signals in: the walk itself never waits.
        await setImmediate()
        if (this.#staging.pendingRows >= MAX_PENDING_ROWS) this.#index.commitBlocks(await this.#staging.sync())
      }
      const tree = builder.finish()
      const metadata = describe(tree)
      const known = this.#known(metadata.baseName, tree.narHash)
      if (known === undefined) {
        const { kind, executable, size, root, nar, narHash, narSize, totalSize, entries } = tree
        const record = { ...metadata, kind, executable, size, root, nar, narHash, narSize, totalSize, entries }
        this.#staged.push({ record: { ...record, firstNode: 0 as PathRecord['firstNode'] }, nodes })
      } else this.#readAgain.add(metadata.baseName)
      this.#results.push(known ?? added(metadata.baseName, tree, true))
    } catch (error) {
      builder.abandon()
      // Blocks of paths staged earlier must outlive this failure; then the failed path's blocks stay until gc.
      if (this.#staged.length === 0) this.#staging.abandon()
      throw error
    }
  }

  /**
   * The result for a path that is there already, or staged. Throws RefusedError where what is there is something else:
   * the first accepted record wins.
   */
  #known(baseName: string, narHash: Uint8Array): Added | undefined {
    const staged = this.#staged.find(({ record }) => record.baseName === baseName)?.record
    const record = staged ?? this.#index.pathByHashPart(hashPart(baseName))
    if (record === undefined) return undefined
    if (record.baseName !== baseName) {
      throw new RefusedError(
        `${fullPath(baseName)}: the same hash part is known as ${fullPath(record.baseName)}; forget that one first`,
      )
    }
    if (Buffer.compare(record.narHash, narHash) !== 0) {
      throw new RefusedError(
        `${fullPath(baseName)}: is known with narHash ${narHashText(record.narHash)}, not ${narHashText(narHash)}; forget it first`,
      )
    }
    return added(baseName, record, false)
  }

  /**
   * Makes what was staged visible and durable. The paths asked for since the last commit, in that order; also those
   * that were known.
   */
  async commit(): Promise<Added[]> {
    const results = this.#results
    this.#results = []
    if (this.#staged.length > 0) await this.#commitStaged(results)
    else if (this.#staging.pendingRows > 0) await this.#commitRepaired()
    if (this.#pin) await this.#pinKnown(results)
    return results
  }

  /** A known path that was added without a pin, or lost its blocks' pins, and is added again with one. */
  async #pinKnown(results: readonly Added[]): Promise<void> {
    for (const { baseName, isNew } of results) {
      const pinned = [...this.#index.pins(baseName)].some(({ name }) => name === ADD_PIN)
      if (isNew || (pinned && !this.#readAgain.delete(baseName))) continue
      const record = this.#index.path(baseName)
      if (record !== undefined) await this.#blockPins?.add(blockPinName(record), blockRoots(record))
      if (!pinned) this.#index.pin({ baseName, name: ADD_PIN, expires: undefined })
    }
  }

  /** No path is new, but blocks were missing. */
  async #commitRepaired(): Promise<void> {
    // The copies of their records may lie where the blocks lay.
    for (const baseName of this.#readAgain) {
      const record = this.#index.path(baseName)
      if (record !== undefined) this.#staging.record(this.#index.encodePath(record))
    }
    this.#index.commitBlocks(await this.#staging.sync())
    await this.#index.flushed()
  }

  async #commitStaged(results: Added[]): Promise<void> {
    const staged = this.#staged
    this.#staged = []
    const ids = this.#index.assignNodes(staged.map(({ record }) => record))
    const pin = this.#pin ? { name: ADD_PIN, expires: undefined } : undefined
    const commits = staged.map(({ record, nodes }, i) => ({ record: { ...record, firstNode: ids[i]! }, nodes, pin }))
    for (const { record } of commits) this.#staging.record(this.#index.encodePath(record))
    this.#index.commitBlocks(await this.#staging.sync())
    // Before they are visible: a visible path never lacks its pin.
    for (const { record } of commits) await this.#blockPins?.add(blockPinName(record), blockRoots(record))
    const outcomes = this.#index.commitPaths(commits, this.#staging.takeReused())
    await this.#index.flushed()
    commits.forEach(({ record }, i) => {
      const result = results.find(({ baseName, isNew }) => isNew && baseName === record.baseName)
      if (result !== undefined) result.isNew = outcomes[i] === 'added'
    })
  }

  /** Gives up what is staged and closes the block staging. */
  async close(): Promise<void> {
    this.#staged = []
    this.#staging.abandon()
    await this.#staging.close()
  }
}

function contentMetadata(name: string, tree: TreeResult): Metadata {
  return {
    baseName: contentAddress(name, tree.narHash),
    references: [],
    deriver: undefined,
    ca: caText({ method: 'recursive', algorithm: 'sha256', digest: tree.narHash }),
    signatures: [],
    registrationTime: Math.floor(Date.now() / 1000),
    trust: 'content',
  }
}

function added(
  baseName: string,
  from: Pick<PathRecord, 'root' | 'nar' | 'narHash' | 'narSize'>,
  isNew: boolean,
): Added {
  return { baseName, root: from.root, nar: from.nar, narHash: from.narHash, narSize: from.narSize, isNew }
}

/** The DAGs that hold all blocks of a path. */
export function blockRoots({ root, nar }: Pick<PathRecord, 'root' | 'nar'>): CidBytes[] {
  return nar === undefined ? [root] : [root, nar]
}

function blockPinName({ baseName }: PathRecord): string {
  return `nix-ipfs-mount:${baseName}`
}
