import { existsSync, type Stats, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { asBuffer } from '../bytes.ts'
import { DamagedError, NixIpfsError, StateError } from '../errors.ts'
import { sealInPlace, TRAILER_BYTES, unseal } from './checksum.ts'
import { checkDataFile, DATA_FILE } from './data-file.ts'
import type { DatabaseName } from './keys.ts'
import { noSpace, stateErrorOf } from './lmdb-errors.ts'
import {
  type BinaryDatabase,
  type MetaAccess,
  openDatabases,
  openRoot,
  type RangeQuery,
  type ReadOptions,
  type ReadTransaction,
  type Root,
  readTransaction,
  resetTxn,
} from './lmdb-js.ts'

export interface Row {
  key: Buffer
  value: Buffer
}

/** A transaction stops taking rows after this, which leaves the rest of 50 ms to its commit. Milliseconds. */
const MAX_FILL_TIME = 20
/** The aim for a whole transaction, commit included. Milliseconds. */
const MAX_TRANSACTION_TIME = 50
const MAX_DIRTY_BYTES = 16 * 1024 * 1024
/** Below this, less per transaction no longer makes it shorter. */
const MIN_DIRTY_BYTES = 2 * 1024 * 1024
/** Branch pages, free list and named databases: written by every transaction besides its rows. */
const OVERHEAD_BYTES = 256 * 1024
/** Less room than this is a full disk. */
const MIN_NEED = 64 * 1024

/** What a transaction may still take. */
export interface Budget {
  /** Counts bytes of pages that will be written. True while the transaction may go on. */
  spend(bytes: number): boolean
}

/**
 * The LMDB environment of an index: named databases of sealed values, one read snapshot, write transactions.
 *
 * Transactions are flushed to the disk before they are visible and before the call returns (lmdb-js's
 * `overlappingSync` is off). With it on, a process that is killed while it flushes leaves a lock that makes the next
 * large commit of every other process fail with MDB_PANIC for good.
 *
 * The read snapshot is our own. lmdb-js's renews itself by a timer each time it was reset, and a thread that never
 * returns to its event loop would pile these up.
 */
export class Environment {
  readonly folder: string
  readonly readOnly: boolean
  readonly #root: Root
  readonly #databases: Record<DatabaseName, BinaryDatabase>
  readonly #snapshot: ReadTransaction
  readonly #snapshotOptions: ReadOptions
  readonly #onRenewal: () => void
  /** The data file that was opened. */
  readonly #file: Stats
  #live = false
  #releasing = false
  #writing = false
  #closed = false
  #dirtyLimit = MAX_DIRTY_BYTES
  /** For values on their way in: LMDB copies them at once. */
  readonly #scratch = Buffer.allocUnsafeSlow(4096)

  private constructor(
    folder: string,
    readOnly: boolean,
    root: Root,
    databases: Record<DatabaseName, BinaryDatabase>,
    onRenewal: () => void,
  ) {
    this.folder = folder
    this.readOnly = readOnly
    this.#root = root
    this.#databases = databases
    this.#onRenewal = onRenewal
    this.#file = statSync(join(folder, DATA_FILE))
    this.#snapshot = readTransaction(root)
    this.#snapshotOptions = { transaction: this.#snapshot }
    resetTxn(this.#snapshot.address)
  }

  /**
   * `prepare` runs in the transaction that opens the databases, unless the index is read-only. `onRenewal` is called
   * before the first read of each snapshot, and may read. Throws StateError, DamagedError.
   */
  static open(
    folder: string,
    readOnly: boolean,
    prepare: (meta: MetaAccess) => void,
    onRenewal: () => void,
  ): Environment {
    try {
      checkDataFile(folder, readOnly)
      // LMDB's lock file is a map: where the disk has no room for it, the process ends with a signal.
      if (!readOnly && !existsSync(join(folder, DATA_FILE)) && freeBytes(folder) < OVERHEAD_BYTES) throw noSpace(folder)
      const root = openRoot(folder, readOnly)
      try {
        root.readerCheck()
        return new Environment(folder, readOnly, root, openDatabases(folder, root, readOnly, prepare), onRenewal)
      } catch (error) {
        root.close()
        throw error
      }
    } catch (error) {
      throw stateErrorOf(folder, error)
    }
  }

  /** The payload, valid until the next read; undefined where there is no such key. Throws DamagedError. */
  get(database: DatabaseName, key: Buffer): Buffer | undefined {
    const value = this.#databases[database].getBinaryFast(key, this.#readOptions())
    // The length of lmdb-js's buffer is that of the value, its byteLength is not: subarray makes both right.
    return value && this.#unseal(database, key, value.subarray(0, value.length))
  }

  /** True where the key is there, whatever its value. */
  has(database: DatabaseName, key: Buffer): boolean {
    return this.#databases[database].getBinaryFast(key, this.#readOptions()) !== undefined
  }

  /** Rows in the order of their keys, at most `limit`, as copies. Throws DamagedError. */
  range(database: DatabaseName, query: RangeQuery): Row[] {
    const rows: Row[] = []
    for (const { key, value } of this.#databases[database].getRange({ ...query, ...this.#readOptions() })) {
      rows.push({ key, value: this.#unseal(database, key, value) })
    }
    return rows
  }

  /** True where the data file is gone, or another has taken its place. */
  isReplaced(): boolean {
    const now = statSync(join(this.folder, DATA_FILE), { throwIfNoEntry: false })
    return now?.ino !== this.#file.ino || now.dev !== this.#file.dev
  }

  /** Number of rows. */
  count(database: DatabaseName): number {
    return this.#databases[database].getStats().entryCount
  }

  keys(database: DatabaseName, query: RangeQuery): Buffer[] {
    const options = { ...query, ...this.#readOptions(), values: false }
    return [...(this.#databases[database].getRange(options) as unknown as Iterable<Buffer>)]
  }

  #readOptions(): ReadOptions | undefined {
    if (this.#writing) return undefined
    if (!this.#live) this.#renew()
    return this.#snapshotOptions
  }

  #renew(): void {
    if (this.#closed) throw new StateError(`${this.folder}: the index is closed`)
    this.#live = true
    if (!this.#releasing) {
      // A snapshot that is kept keeps the pages of that time from being used again. A thread that never comes back to
      // its event loop calls reset() instead.
      this.#releasing = true
      setImmediate(() => {
        this.#releasing = false
        this.reset()
      })
    }
    this.#onRenewal()
  }

  #unseal(database: DatabaseName, key: Buffer, value: Buffer): Buffer {
    const payload = unseal(key, value)
    if (payload === undefined) throw this.damaged(database, key, 'its checksum does not match')
    return payload
  }

  damaged(database: DatabaseName, key: Uint8Array, why: string): DamagedError {
    const text = asBuffer(key).toString(database === 'paths' || database === 'meta' ? 'latin1' : 'hex')
    return new DamagedError(`index ${this.folder}: database ${database}, key ${text}: ${why}`)
  }

  /** Lets go of the snapshot: the next read sees what is committed by then. */
  reset(): void {
    if (!this.#live) return
    this.#live = false
    resetTxn(this.#snapshot.address)
  }

  /** Inside a write transaction only. */
  put(database: DatabaseName, key: Buffer, payload: Uint8Array): void {
    const length = payload.length + TRAILER_BYTES
    const value = length <= this.#scratch.length ? this.#scratch.subarray(0, length) : Buffer.allocUnsafe(length)
    value.set(payload)
    sealInPlace(key, value)
    this.#databases[database].put(key, value)
  }

  /** Inside a write transaction only; `value` is sealed. */
  putSealed(database: DatabaseName, key: Buffer, value: Buffer): void {
    this.#databases[database].put(key, value)
  }

  /** Inside a write transaction only. */
  remove(database: DatabaseName, key: Buffer): void {
    this.#databases[database].remove(key)
  }

  /**
   * One write transaction, on the disk when this returns. What `action` throws aborts it. `need` is about how many
   * bytes of pages it will write; 0 for one that rather frees pages, which is tried also on a full disk. Throws
   * StateError where the disk is full.
   */
  write<T>(need: number, action: (budget: Budget) => T): T {
    if (this.readOnly) throw new StateError(`${this.folder}: the index is open for reading only`)
    if (this.#closed) throw new StateError(`${this.folder}: the index is closed`)
    // LMDB itself writes to stderr when the disk is full, so that is found out before.
    const free = freeBytes(this.folder) - OVERHEAD_BYTES
    if (need > 0 ? free < Math.max(need, MIN_NEED) : free + OVERHEAD_BYTES < MIN_NEED) throw noSpace(this.folder)
    let begun = 0
    let filled = false
    let spent = 0
    let steps = 0
    const limit = Math.min(this.#dirtyLimit, Math.max(free, MIN_NEED))
    const spend = (bytes: number): boolean => {
      spent += bytes
      filled = spent >= limit || ((++steps & 15) === 0 && performance.now() - begun > MAX_FILL_TIME)
      return !filled
    }
    this.#writing = true
    try {
      return this.#root.transactionSync(() => {
        // Only now is the write lock ours.
        begun = performance.now()
        return action({ spend })
      })
    } catch (error) {
      throw error instanceof NixIpfsError ? error : stateErrorOf(this.folder, error)
    } finally {
      this.#writing = false
      this.reset()
      if (begun > 0) this.#adapt(spent, filled, performance.now() - begun)
    }
  }

  /** Disks differ: how much one transaction takes follows from the time that the last ones took. */
  #adapt(spent: number, filled: boolean, time: number): void {
    if (time > MAX_TRANSACTION_TIME) {
      this.#dirtyLimit = Math.max(MIN_DIRTY_BYTES, Math.min(spent, this.#dirtyLimit) / 2)
    } else if (filled && time < MAX_TRANSACTION_TIME / 2) {
      this.#dirtyLimit = Math.min(MAX_DIRTY_BYTES, this.#dirtyLimit * 2)
    }
  }

  /**
   * Runs `step` on each item, in as many transactions as it takes; it gives the bytes of pages to be written. `need`
   * is for the least that one of them will write, as in {@link write}.
   */
  writeEach<T>(need: number, items: Iterable<T>, step: (item: T) => number): void {
    const iterator = items[Symbol.iterator]()
    let next = iterator.next()
    while (next.done !== true) {
      this.write(need, budget => {
        while (next.done !== true) {
          const more = budget.spend(step(next.value))
          next = iterator.next()
          if (!more) break
        }
      })
    }
  }

  async flushed(): Promise<void> {
    await this.#root.flushed
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#live = false
    this.#snapshot.done()
    await this.#root.close()
  }
}

function freeBytes(folder: string): number {
  const { bsize, bfree, bavail } = statfsSync(folder)
  return bsize * (process.geteuid?.() === 0 ? bfree : bavail)
}
