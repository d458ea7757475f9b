import { randomInt } from 'node:crypto'
import type { BlockRow } from '../blocks/types.ts'
import { asBuffer } from '../bytes.ts'
import { StateError, UnknownPathError } from '../errors.ts'
import { commitPaths } from './commit-paths.ts'
import { Environment } from './environment.ts'
import { afterPrefix, metaKeys, packKey, pathKey, pinKey, pinPrefix, rootKey } from './keys.ts'
import type { MetaAccess } from './lmdb-js.ts'
import { LmdbReader } from './lmdb-reader.ts'
import { removeNodes } from './node-removal.ts'
import { NodeRunLog } from './node-run.ts'
import { checkBaseName, encodePath } from './record.ts'
import {
  decodeNumber,
  decodeTombstone,
  encodeExpiry,
  encodeLocation,
  encodeNumber,
  encodeOwner,
  encodeTombstone,
} from './rows.ts'
import {
  COUNTERS,
  type NodeId,
  type NodeRun,
  type PackOwner,
  type PathCommit,
  type PathRecord,
  type Pin,
  type StoreIndex,
} from './types.ts'

/** Version of everything in the index: databases, keys and values. */
const SCHEMA = 1

const EPOCHS = 2 ** 20
/** Smaller ones are left for what the filesystem itself needs. */
const FIRST_COUNTER = 16

/** Pages that a row under a random key touches. Bytes. */
const RANDOM_ROW_BYTES = 4096

/** The index of one state, in LMDB. */
export class LmdbIndex extends LmdbReader implements StoreIndex {
  protected readonly environment: Environment
  readonly epoch: number

  private constructor(folder: string, readOnly: boolean) {
    super()
    this.environment = Environment.open(
      folder,
      readOnly,
      meta => prepare(folder, meta),
      () => this.checkGeneration(),
    )
    try {
      if (readOnly) checkSchema(folder, this.meta('schema'))
      this.epoch = this.meta('epoch')
    } catch (error) {
      void this.environment.close()
      throw error
    }
  }

  /**
   * Opens the index in `folder`, and makes it where there is none unless `readOnly`. Read-only works on media that
   * cannot be written to. A process that reads in several threads opens it on its main thread first.
   * @throws StateError, also for an index of a newer version; DamagedError
   */
  static open(folder: string, { readOnly = false }: { readOnly?: boolean } = {}): LmdbIndex {
    return new LmdbIndex(folder, readOnly)
  }

  encodePath(record: PathRecord): Buffer {
    return encodePath(record)
  }

  newNodes(): NodeRun {
    return new NodeRunLog()
  }

  allocatePack(owner: PackOwner): number {
    return this.environment.write(RANDOM_ROW_BYTES, () => {
      const pack = this.meta('packs') + 1
      this.environment.put('meta', metaKeys.packs, encodeNumber(pack))
      this.environment.put('packs', packKey(pack), encodeOwner(owner))
      return pack
    })
  }

  assignNodes(trees: readonly { baseName: string; narHash: Uint8Array; entries: number }[]): NodeId[] {
    for (const { baseName } of trees) checkBaseName(baseName)
    if (trees.length === 0) return []
    return this.environment.write(RANDOM_ROW_BYTES, () => {
      let counter = this.meta('nodes')
      const ids = trees.map(tree => {
        const again = this.#claimTombstone(tree)
        if (again !== undefined) return again
        const id = this.epoch * COUNTERS + counter
        counter += tree.entries
        return id as NodeId
      })
      if (!(counter <= COUNTERS)) throw new StateError(`${this.environment.folder}: this state has no more node ids`)
      this.environment.put('meta', metaKeys.nodes, encodeNumber(counter))
      return ids
    })
  }

  #claimTombstone(tree: { baseName: string; narHash: Uint8Array; entries: number }): NodeId | undefined {
    const key = pathKey(tree.baseName)
    const payload = this.environment.get('forgotten', key)
    const tombstone = payload && decodeTombstone(payload)
    if (tombstone === undefined || tombstone.entries !== tree.entries) return undefined
    if (asBuffer(tombstone.narHash).compare(tree.narHash) !== 0) return undefined
    this.environment.put('forgotten', key, encodeTombstone({ ...tombstone, claimed: true }))
    return tombstone.firstNode
  }

  commitBlocks(rows: readonly BlockRow[]): void {
    // About in the order of keys, so that neighbours share pages.
    const sorted = rows.map(row => ({ row, order: startOfDigest(row.multihash) })).sort((a, b) => a.order - b.order)
    this.environment.writeEach(RANDOM_ROW_BYTES, sorted, ({ row: { multihash, location } }) => {
      this.environment.put('blocks', asBuffer(multihash), encodeLocation(location))
      return RANDOM_ROW_BYTES
    })
  }

  /** Removes blocks from the index, for gc. Whoever is adding a path that reuses one of them is refused. */
  removeBlocks(multihashes: Iterable<Uint8Array>): void {
    this.environment.writeEach(0, multihashes, multihash => {
      this.environment.remove('blocks', asBuffer(multihash))
      this.environment.put('meta', metaKeys.removals, encodeNumber(this.meta('removals') + 1))
      return RANDOM_ROW_BYTES
    })
  }

  commitPaths(commits: readonly PathCommit[], reused: Buffer): ('added' | 'known')[] {
    return commitPaths(this.environment, this, commits, reused)
  }

  forget(baseName: string): boolean {
    const forgotten = this.environment.write(0, () => {
      const record = this.path(baseName)
      if (record === undefined) return undefined
      const { narHash, firstNode, entries } = record
      this.environment.remove('paths', pathKey(baseName))
      this.environment.remove('roots', rootKey(firstNode))
      const start = pinPrefix(baseName)
      for (const key of this.environment.keys('pins', {
        start,
        end: afterPrefix(start),
        limit: Number.MAX_SAFE_INTEGER,
      })) {
        this.environment.remove('pins', key)
      }
      const tombstone = encodeTombstone({ narHash, firstNode, entries, claimed: false })
      this.environment.put('forgotten', pathKey(baseName), tombstone)
      this.environment.put('meta', metaKeys.generation, encodeNumber(this.generation() + 1))
      return record
    })
    if (forgotten === undefined) return false
    this.dropCaches()
    removeNodes(this.environment, forgotten, true)
    return true
  }

  /** @throws UnknownPathError */
  pin({ baseName, name, expires }: Pin): void {
    const key = pinKey(baseName, name)
    this.environment.write(RANDOM_ROW_BYTES, () => {
      if (!this.environment.has('paths', pathKey(baseName))) {
        throw new UnknownPathError(`${baseName}: is not known here; add it first`)
      }
      this.environment.put('pins', key, encodeExpiry(expires))
    })
  }

  unpin(baseName: string, name: string): boolean {
    const key = pinKey(baseName, name)
    return this.environment.write(0, () => {
      const found = this.environment.has('pins', key)
      if (found) this.environment.remove('pins', key)
      return found
    })
  }

  flushed(): Promise<void> {
    return this.environment.flushed()
  }

  async close(): Promise<void> {
    await this.environment.close()
  }
}

/** The start of a multihash's digest as a number; the code and length before it take two bytes in nearly all. */
function startOfDigest(multihash: Uint8Array): number {
  return asBuffer(multihash).readUIntBE(2, 6)
}

/** Makes a new index, or looks whether this one is ours. Two processes may come here at once: the first one makes it. */
function prepare(folder: string, { get, put }: MetaAccess): void {
  const schema = get(metaKeys.schema)
  if (schema !== undefined) {
    checkSchema(folder, decodeNumber(schema))
    return
  }
  put(metaKeys.schema, encodeNumber(SCHEMA))
  put(metaKeys.epoch, encodeNumber(randomInt(1, EPOCHS)))
  put(metaKeys.nodes, encodeNumber(FIRST_COUNTER))
  for (const key of [metaKeys.packs, metaKeys.generation, metaKeys.removals]) put(key, encodeNumber(0))
}

function checkSchema(folder: string, schema: number | undefined): void {
  if (schema === SCHEMA) return
  throw new StateError(
    `${folder}: the index has version ${schema}, this program knows ${SCHEMA}; use a newer nix-ipfs-mount`,
  )
}
