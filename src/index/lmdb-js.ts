import * as lmdb from 'lmdb'
import { DamagedError, StateError } from '../errors.ts'
import { seal, unseal } from './checksum.ts'
import { type DatabaseName, databaseNames } from './keys.ts'

/** The root of an environment: what opens databases and transactions. */
export type Root = lmdb.RootDatabase<Buffer, Buffer>

/** What is used of a database, with the options that its own types leave out. */
export interface BinaryDatabase {
  getBinaryFast(key: Buffer, options?: ReadOptions): Buffer | undefined
  put(key: Buffer, value: Buffer): unknown
  remove(key: Buffer): unknown
  getStats(): { entryCount: number }
  getRange(options: RangeQuery & ReadOptions & { values?: boolean }): Iterable<{ key: Buffer; value: Buffer }>
}

export interface ReadTransaction {
  address: number
  done(): void
}

export interface ReadOptions {
  transaction?: ReadTransaction
}

export interface RangeQuery {
  /** First key, or the last one where the range is reversed. */
  start: Buffer
  end?: Buffer
  exclusiveStart?: boolean
  reverse?: boolean
  limit: number
}

/** Exported by lmdb-js at run time, and missing from its types. */
export const { resetTxn } = (lmdb as unknown as { nativeAddon: { resetTxn(address: number): void } }).nativeAddon

/**
 * Address space reserved for the map. A map of a fixed size never moves, so that threads and processes may read while
 * another lets the file grow; above it lmdb-js maps anew.
 */
const MAP_BYTES = 64 * 2 ** 30

/** The same on all machines, whatever their memory pages: values are cut to fit it. */
const PAGE_BYTES = 4096

/** Each process and thread that reads has one slot in the lock file. */
const MAX_READERS = 1024

/** Reads and writes of the `meta` database in the transaction that opens an index. */
export interface MetaAccess {
  get(key: Buffer): Buffer | undefined
  put(key: Buffer, payload: Buffer): void
}

export function openRoot(folder: string, readOnly: boolean): Root {
  return lmdb.open<Buffer, Buffer>({ path: folder, ...environmentOptions, ...databaseOptions, readOnly })
}

const databaseOptions = { keyEncoding: 'binary', encoding: 'binary' } as const

const environmentOptions = {
  maxDbs: databaseNames.length + 3,
  mapSize: MAP_BYTES,
  pageSize: PAGE_BYTES,
  maxReaders: MAX_READERS,
  overlappingSync: false,
  noSubdir: false,
} as const

/** `prepare` runs in the transaction that opens the databases, unless the index is read-only. */
export function openDatabases(
  folder: string,
  root: Root,
  readOnly: boolean,
  prepare: (meta: MetaAccess) => void,
): Record<DatabaseName, BinaryDatabase> {
  const openAll = () =>
    Object.fromEntries(
      databaseNames.map(name => {
        const database = root.openDB<Buffer, Buffer>({ name, ...databaseOptions }) as unknown
        if (database === undefined) throw new StateError(`${folder}: the index is not complete`)
        return [name, database as BinaryDatabase]
      }),
    ) as Record<DatabaseName, BinaryDatabase>
  if (readOnly) return openAll()
  // One transaction for all, or else a new process would wait for the write lock once for each database.
  return root.transactionSync(() => {
    const databases = openAll()
    prepare(metaAccess(folder, databases.meta))
    return databases
  })
}

function metaAccess(folder: string, meta: BinaryDatabase): MetaAccess {
  return {
    get: key => {
      const value = meta.getBinaryFast(key)
      const payload = value && unseal(key, value.subarray(0, value.length))
      if (value !== undefined && payload === undefined) {
        throw new DamagedError(`index ${folder}: database meta, key ${key}: its checksum does not match`)
      }
      return payload
    },
    put: (key, payload) => {
      meta.put(key, seal(key, payload))
    },
  }
}

/** A snapshot for reading; the first is taken at once. */
export function readTransaction(root: Root): ReadTransaction {
  return (root as unknown as { useReadTransaction(): ReadTransaction }).useReadTransaction()
}
