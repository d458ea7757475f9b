import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { DamagedError, StateError, systemCode } from '../errors.ts'

/** In an environment's folder, LMDB's own name. */
export const DATA_FILE = 'data.mdb'

/**
 * LMDB's data file begins with two meta pages; the fields that matter here, in the build that lmdb-js brings
 * (little-endian, MDB_page and MDB_meta of mdb.c):
 *
 *     18   u16  page flags, 8 for a meta page
 *     24   u32  magic
 *     48   u32  page size
 *     136  u64  root page of the main database
 *     144  u64  last page in use
 *     152  u64  transaction
 */
const META_BYTES = 160
const META_FLAG = 8
const MAGIC = 0xbeefc0de
const NO_PAGE = 2 ** 64

/** Pages at the end that were taken and given back in one transaction are never written. */
const UNWRITTEN_PAGES = 256

/** A file as short as this may be one that another process is just making. */
const FRESH_BYTES = 2 * 65536
const ATTEMPTS = 20
/** Milliseconds. */
const PAUSE = 10

/**
 * Looks at the files of an index before LMDB does: lmdb-js crashes when LMDB cannot open them, and a map of a file
 * that was cut short kills the process when it is read. `lock.mdb` must not be opened here, because closing it would
 * take away this process's locks on it (fcntl(2)).
 * @throws StateError where it cannot be used, with the system error as its cause; DamagedError
 */
export function checkDataFile(folder: string, readOnly: boolean): void {
  const path = join(folder, DATA_FILE)
  try {
    if (!readOnly) {
      mkdirSync(folder, { recursive: true })
      checkAccess(folder, constants.R_OK | constants.W_OK | constants.X_OK)
      for (const file of [path, join(folder, 'lock.mdb')]) accessIfThere(file)
    }
    for (let attempt = 1; ; attempt++) {
      const why = damageOf(path)
      if (why === undefined) return
      if (attempt === ATTEMPTS && !readOnly && emptyUnfinished(path)) return
      if (attempt === ATTEMPTS || statSync(path).size >= FRESH_BYTES) throw new DamagedError(`${path}: ${why}`)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE)
    }
  } catch (error) {
    const code = systemCode(error)
    if (error instanceof DamagedError || code === undefined) throw error
    if (code === 'ENOENT') {
      if (!readOnly) return
      throw new StateError(`${folder}: there is no index here`, { cause: error })
    }
    throw new StateError(`${folder}: the index cannot be opened (${code})`, { cause: error })
  }
}

function accessIfThere(path: string): void {
  try {
    checkAccess(path, constants.R_OK | constants.W_OK)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}

/** access(2) asks what the real user may do, which is not who opens files where the effective user is another. */
function checkAccess(path: string, wanted: number): void {
  accessSync(path, wanted)
  const user = process.geteuid?.()
  if (user === 0 || user === process.getuid?.()) return
  const { uid, gid, mode } = statSync(path)
  const inGroup = gid === process.getegid?.() || process.getgroups?.().includes(gid)
  const allowed = uid === user ? mode >> 6 : inGroup ? mode >> 3 : mode
  if ((allowed & wanted) !== wanted) throw Object.assign(new Error(`EACCES: ${path}`), { code: 'EACCES' })
}

/** Why the file is no LMDB database; undefined if it may be one, or is empty. Throws system errors. */
function damageOf(path: string): string | undefined {
  const fd = openSync(path, 'r')
  try {
    if (fstatSync(fd).size === 0) return undefined
    const first = readMeta(fd, 0)
    const pageSize = first?.readUInt32LE(48) ?? 0
    const second = pageSize >= META_BYTES ? readMeta(fd, pageSize) : undefined
    if (first === undefined || second === undefined) return 'it does not begin as a database of LMDB'
    const latest = transactionOf(first) > transactionOf(second) ? first : second
    // The size is read last: the file may grow meanwhile, and pages are written before the meta page that counts them.
    return cutShort(latest, fstatSync(fd).size / pageSize) ? 'it is cut short' : undefined
  } finally {
    closeSync(fd)
  }
}

/** Empties a file whose maker was killed before the second meta page: LMDB makes an empty one anew. */
function emptyUnfinished(path: string): boolean {
  const fd = openSync(path, 'r+')
  try {
    const first = readMeta(fd, 0)
    const unfinished =
      first !== undefined && transactionOf(first) === 0n && fstatSync(fd).size < 2 * first.readUInt32LE(48)
    if (unfinished) ftruncateSync(fd)
    return unfinished
  } finally {
    closeSync(fd)
  }
}

function readMeta(fd: number, position: number): Buffer | undefined {
  const bytes = Buffer.alloc(META_BYTES)
  if (readSync(fd, bytes, 0, META_BYTES, position) !== META_BYTES) return undefined
  return bytes.readUInt16LE(18) === META_FLAG && bytes.readUInt32LE(24) === MAGIC ? bytes : undefined
}

function transactionOf(meta: Buffer): bigint {
  return meta.readBigUInt64LE(152)
}

function cutShort(meta: Buffer, pages: number): boolean {
  const root = Number(meta.readBigUInt64LE(136))
  const last = Number(meta.readBigUInt64LE(144))
  return (root < NO_PAGE && root >= pages) || last >= pages + UNWRITTEN_PAGES
}
