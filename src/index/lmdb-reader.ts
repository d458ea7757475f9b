import type { BlockLocation, BlockRow } from '../blocks/types.ts'
import type { CidBytes } from '../cid.ts'
import { clip, coverRange, decodeLeaves, isRawFile, type LeafPage } from './contents.ts'
import type { Environment, Row } from './environment.ts'
import {
  afterPrefix,
  contentsKey,
  type DatabaseName,
  type MetaKey,
  metaKeys,
  nodeKey,
  nodeRow,
  packOfKey,
  pageKey,
  pathKey,
  pinOfKey,
  pinPrefix,
  rootKey,
  rootOfKey,
} from './keys.ts'
import { Lru } from './lru.ts'
import { DirectoryPage, decodeNode, PageIndex } from './nodes.ts'
import { decodeRecord } from './record.ts'
import { decodeExpiry, decodeLocation, decodeNumber, decodeOwner, decodeTombstone } from './rows.ts'
import {
  COUNTERS,
  type IndexReader,
  type LeafSlice,
  type NodeEntry,
  type NodeId,
  type NodeRecord,
  type PackOwner,
  type PathRecord,
  type Pin,
} from './types.ts'

/** Numbers of rows that are kept; a page is at most 16 KiB, so that a thread keeps less than 6 MiB. */
const CACHED_PAGES = 256
const CACHED_PAGE_INDEXES = 64
const CACHED_LEAF_PAGES = 16
const CACHED_NODES = 4096

/** Rows that a listing reads at a time; between two batches other commits may become visible. */
const FIRST_BATCH = 16
const MAX_BATCH = 256

const hashPartPattern = /^[0-9a-z]{32}$/

/**
 * The read side of the index.
 *
 * What lies below a store path never changes, so pages and node records are cached by node id. Ids are never used for
 * anything else, but their rows go when a path is forgotten: the caches are dropped when the first read of a snapshot
 * finds another generation. A folder whose pages are cached needs no database at all; so below a path that another
 * process has forgotten, entries may be answered until something else is read.
 */
export abstract class LmdbReader implements IndexReader {
  readonly #pages = new Lru<number | string, DirectoryPage>(CACHED_PAGES)
  readonly #pageIndexes = new Lru<NodeId, PageIndex>(CACHED_PAGE_INDEXES)
  readonly #leafPages = new Lru<string, LeafPage>(CACHED_LEAF_PAGES)
  readonly #nodes = new Lru<NodeId, NodeRecord>(CACHED_NODES)
  #generation = 0

  protected abstract readonly environment: Environment

  /** For the environment: a new snapshot is about to be read. */
  protected checkGeneration(): void {
    const generation = this.meta('generation')
    if (generation === this.#generation) return
    this.#generation = generation
    this.dropCaches()
  }

  protected dropCaches(): void {
    this.#pages.clear()
    this.#pageIndexes.clear()
    this.#leafPages.clear()
    this.#nodes.clear()
  }

  protected meta(name: MetaKey): number {
    const key = metaKeys[name]
    const payload = this.environment.get('meta', key)
    if (payload === undefined) throw this.environment.damaged('meta', key, 'it is missing')
    return this.#decoded('meta', key, decodeNumber(payload))
  }

  #decoded<T>(database: DatabaseName, key: Buffer, value: T | undefined): T {
    if (value === undefined) throw this.environment.damaged(database, key, 'its value is malformed')
    return value
  }

  path(baseName: string): PathRecord | undefined {
    const key = pathKey(baseName)
    // A key of another length than LMDB takes is no path's name.
    if (key.length === 0 || key.length > 255) return undefined
    const payload = this.environment.get('paths', key)
    return payload && this.#decoded('paths', key, decodeRecord(baseName, payload))
  }

  pathByHashPart(hashPart: string): PathRecord | undefined {
    if (!hashPartPattern.test(hashPart)) return undefined
    const start = pathKey(`${hashPart}-`)
    const row = this.environment.range('paths', { start, end: afterPrefix(start), limit: 1 })[0]
    return row && this.#pathOfRow(row)
  }

  #pathOfRow({ key, value }: Row): PathRecord {
    return this.#decoded('paths', key, decodeRecord(key.toString('latin1'), value))
  }

  *paths(): Generator<PathRecord> {
    for (const row of this.#scan('paths', Buffer.of(0))) yield this.#pathOfRow(row)
  }

  *pathsAfter(after: NodeId): Generator<PathRecord> {
    let last = after
    for (let size = FIRST_BATCH; ; size = Math.min(MAX_BATCH, 4 * size)) {
      const query = { start: rootKey(last), exclusiveStart: true, limit: size }
      const rows = this.environment.range('roots', query)
      // All of a batch is read from one snapshot: the caller may let time pass between two of its paths.
      const records = rows.map(row => this.#pathOfRoot(row))
      yield* records
      if (rows.length < size) return
      last = rootOfKey(rows.at(-1)!.key)
    }
  }

  #pathOfRoot({ key, value }: Row): PathRecord {
    const baseName = value.toString('latin1')
    const record = this.path(baseName)
    if (record === undefined) throw this.environment.damaged('roots', key, `there is no path ${baseName}`)
    return record
  }

  pathOfNode(id: NodeId): PathRecord | undefined {
    const row = this.environment.range('roots', { start: rootKey(id), reverse: true, limit: 1 })[0]
    const record = row && this.#pathOfRoot(row)
    return record !== undefined && id < record.firstNode + record.entries ? record : undefined
  }

  /** Rows from `start` on, read in batches. */
  *#scan(database: DatabaseName, start: Buffer, end?: Buffer): Generator<Row> {
    let query = { start, exclusiveStart: false, limit: FIRST_BATCH, ...(end && { end }) }
    for (;;) {
      const rows = this.environment.range(database, query)
      yield* rows
      if (rows.length < query.limit) return
      query = { ...query, start: rows.at(-1)!.key, exclusiveStart: true, limit: Math.min(MAX_BATCH, 4 * query.limit) }
    }
  }

  node(id: NodeId): NodeRecord | undefined {
    const cached = this.#nodes.get(id)
    if (cached !== undefined) return cached
    const key = nodeKey(nodeRow.record, id)
    const payload = this.environment.get('nodes', key)
    if (payload === undefined) return undefined
    const record = this.#decoded('nodes', key, decodeNode(payload))
    this.#nodes.set(id, record)
    return record
  }

  isDirectory(id: NodeId): boolean {
    return this.#firstPage(id) !== undefined || this.node(id)?.kind === 'directory'
  }

  lookup(directory: NodeId, name: Uint8Array): NodeEntry | undefined {
    const first = this.#firstPage(directory)
    if (first === undefined) return undefined
    const number = first.pages === 1 ? 0 : this.#pageIndex(directory).pageOfName(name)
    const page = number === 0 ? first : this.#page(directory, number)
    if (page === undefined) return undefined
    const place = page.find(name)
    return place < 0 ? undefined : this.#entry(page, place, directory, number)
  }

  *entries(directory: NodeId, from: number): Generator<NodeEntry> {
    const first = this.#firstPage(directory)
    if (first === undefined) return
    let number = 0
    let place = from
    if (first.pages > 1) {
      const index = this.#pageIndex(directory)
      number = index.pageOfOrdinal(from)
      place = from - index.firstOrdinal(number)
    }
    for (; number < first.pages; number++, place = 0) {
      const page = number === 0 ? first : this.#page(directory, number)
      if (page === undefined) return
      for (; place < page.count; place++) yield this.#entry(page, place, directory, number)
    }
  }

  #entry(page: DirectoryPage, place: number, directory: NodeId, number: number): NodeEntry {
    return this.#decoded('nodes', pageKey(directory, number), page.entry(place, directory))
  }

  /** Undefined where the directory is empty, or is none. */
  #firstPage(directory: NodeId): DirectoryPage | undefined {
    const cached = this.#pages.get(directory)
    if (cached !== undefined) return cached
    const page = this.#readPage(directory, 0)
    if (page !== undefined) this.#pages.set(directory, page)
    else this.#checkMissing(directory, 0)
    return page
  }

  /** Another page than the first. Undefined where the path was forgotten since. */
  #page(directory: NodeId, number: number): DirectoryPage | undefined {
    const id = `${directory}/${number}`
    const cached = this.#pages.get(id)
    if (cached !== undefined) return cached
    const page = this.#readPage(directory, number)
    if (page !== undefined) this.#pages.set(id, page)
    else this.#checkMissing(directory, number)
    return page
  }

  #readPage(directory: NodeId, number: number): DirectoryPage | undefined {
    const key = pageKey(directory, number)
    const payload = this.environment.get('nodes', key)
    return payload && this.#decoded('nodes', key, DirectoryPage.parse(Buffer.from(payload)))
  }

  /** A page may be missing with its directory, but not alone. */
  #checkMissing(directory: NodeId, number: number): void {
    const node = this.node(directory)
    if (node?.kind === 'directory' && node.entries > 0) {
      throw this.environment.damaged('nodes', pageKey(directory, number), 'it is missing')
    }
  }

  #pageIndex(directory: NodeId): PageIndex {
    const cached = this.#pageIndexes.get(directory)
    if (cached !== undefined) return cached
    const key = nodeKey(nodeRow.pageIndex, directory)
    const payload = this.environment.get('nodes', key)
    if (payload === undefined) throw this.environment.damaged('nodes', key, 'it is missing')
    const index = this.#decoded('nodes', key, PageIndex.parse(Buffer.from(payload)))
    this.#pageIndexes.set(directory, index)
    return index
  }

  /** Slices are cut to the range, so that their lengths add up to what there is of it. */
  leaves(file: CidBytes, fileSize: number, offset: number, length: number): LeafSlice[] {
    const end = Math.min(fileSize, offset + length)
    if (offset >= end) return []
    if (isRawFile(file)) return [clip({ offset: 0, length: fileSize, cid: file, start: 0 }, offset, end)!]
    const slices: LeafSlice[] = []
    const first = this.#leafPage(file, 0)
    let number = first.end > offset ? 0 : this.#findLeafPage(file, offset, first.pages)
    for (let page = first; number < first.pages; number++) {
      page = this.#leafPage(file, number)
      if (page.offset >= end) break
      coverRange(page, offset, end, slices)
    }
    return slices
  }

  /** The last page that begins at or before `offset`. */
  #findLeafPage(file: CidBytes, offset: number, pages: number): number {
    let low = 0
    let high = pages - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#leafPage(file, middle).offset <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  #leafPage(file: CidBytes, number: number): LeafPage {
    const key = contentsKey(file, number)
    const id = key.toString('latin1')
    const cached = this.#leafPages.get(id)
    if (cached !== undefined) return cached
    const payload = this.environment.get('contents', key)
    if (payload === undefined) throw this.environment.damaged('contents', key, 'the leaf table of a file is missing')
    const page = this.#decoded('contents', key, decodeLeaves(payload))
    this.#leafPages.set(id, page)
    return page
  }

  locate(multihash: Uint8Array): BlockLocation | undefined {
    const key = multihash as Buffer
    if (key.length === 0 || key.length > 128) return undefined
    const payload = this.environment.get('blocks', key)
    return payload && this.#decoded('blocks', key, decodeLocation(payload))
  }

  *blocks(): Generator<BlockRow> {
    for (const { key, value } of this.#scan('blocks', Buffer.of(0)))
      yield { multihash: key, location: this.#decoded('blocks', key, decodeLocation(value)) }
  }

  *forgotten(): Generator<{ baseName: string; firstNode: NodeId }> {
    for (const { key, value } of this.#scan('forgotten', Buffer.of(0))) {
      const { firstNode } = this.#decoded('forgotten', key, decodeTombstone(value))
      yield { baseName: key.toString('latin1'), firstNode }
    }
  }

  nextNode(): NodeId {
    return (this.meta('epoch') * COUNTERS + this.meta('nodes')) as NodeId
  }

  pathCount(): number {
    return this.environment.count('paths')
  }

  isReplaced(): boolean {
    return this.environment.isReplaced()
  }

  generation(): number {
    return this.meta('generation')
  }

  refresh(): void {
    this.environment.reset()
  }

  *pins(baseName?: string): Generator<Pin> {
    const prefix = baseName === undefined ? undefined : pinPrefix(baseName)
    for (const { key, value } of this.#scan('pins', prefix ?? Buffer.of(0), prefix && afterPrefix(prefix))) {
      const name = this.#decoded('pins', key, pinOfKey(key))
      yield { ...name, ...this.#decoded('pins', key, decodeExpiry(value)) }
    }
  }

  /** Packs that were given out, with their owners. */
  *packs(): Generator<{ pack: number; owner: PackOwner }> {
    for (const { key, value } of this.#scan('packs', Buffer.alloc(8))) {
      yield { pack: packOfKey(key), owner: this.#decoded('packs', key, decodeOwner(value)) }
    }
  }
}
