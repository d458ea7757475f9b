import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
} from 'node:fs'
import { bytesToText } from '../bytes.ts'
import { ChangedError, RefusedError, systemCode } from '../errors.ts'
import { EMPTY_NAME } from '../nix/tree.ts'
import type { TreeBuilder } from '../unixfs/builder.ts'

/** What {@link walkFolder} has read so far. */
export interface WalkProgress {
  entries: number
  bytes: number
}

/** Events between two yields, so that a caller can wait for its block store or show progress. */
const YIELD_ENTRIES = 256
const YIELD_BYTES = 4 * 1024 * 1024

/** Paths longer than this are continued from an open directory, since the kernel takes 4,095 bytes at once. */
const MAX_PATH_BYTES = 2048

const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
const SLASH = Buffer.from('/')

interface Frame {
  /** How the kernel is asked for this directory. */
  path: Buffer
  /** Open where `path` goes through /proc/self/fd. */
  fd: number | undefined
  before: BigIntStats
  names: Buffer[]
  next: number
}

/**
 * Feeds a file, folder or symlink to the builder in NAR order, as Nix's dump reads it: names sorted bytewise, the
 * owner's executable bit, nothing else of the mode, no times. Yields now and then; the tree is complete when the
 * generator returns. Throws RefusedError for what a store path cannot hold, ChangedError where something changed
 * meanwhile (detected by kind, size, mtime and ctime).
 */
export function* walkFolder(root: string, builder: TreeBuilder, progress: WalkProgress): Generator<void> {
  const stack: Frame[] = []
  const names: Buffer[] = []
  const where = () => [root, ...names.map(bytesToText)].join('/')
  let sinceEntries = 0
  let sinceBytes = progress.bytes

  /** Tells one entry; a directory is entered. */
  function* visit(path: Buffer, name: Uint8Array): Generator<void> {
    const stat = lstatSync(path, { bigint: true })
    if (stat.isDirectory()) {
      builder.directory(name)
      stack.push(openFrame(path, stat))
    } else if (stat.isSymbolicLink()) {
      builder.symlink(name, readlinkSync(path, { encoding: 'buffer' }))
    } else if (stat.isFile()) {
      yield* readFile(path, name, stat, builder, progress, where)
    } else {
      throw new RefusedError(
        `${where()}: is a ${oddKind(stat)}; a store path holds regular files, folders and symlinks only`,
      )
    }
    progress.entries++
  }

  try {
    yield* visit(Buffer.from(root), EMPTY_NAME)
    while (stack.length > 0) {
      const frame = stack.at(-1)!
      const name = frame.names[frame.next++]
      if (name === undefined) {
        if (changed(frame.before, statFrame(frame))) {
          throw new ChangedError(`${where()}: the folder changed while it was read; try again`)
        }
        closeFrame(frame)
        stack.pop()
        names.pop()
        builder.endDirectory()
        continue
      }
      const depth = stack.length
      names.push(name)
      yield* visit(Buffer.concat([frame.path, SLASH, name]), name)
      if (stack.length === depth) names.pop()
      if (++sinceEntries >= YIELD_ENTRIES || progress.bytes - sinceBytes >= YIELD_BYTES) {
        sinceEntries = 0
        sinceBytes = progress.bytes
        yield
      }
    }
  } catch (cause) {
    const code = systemCode(cause)
    if (code === 'ENOENT' && stack.length === 0) throw new RefusedError(`${root}: does not exist`, { cause })
    if (code === 'ENOENT') throw new ChangedError(`${where()}: vanished while it was read; try again`, { cause })
    if (code === 'ELOOP' || code === 'ENOTDIR')
      throw new ChangedError(`${where()}: became something else while it was read; try again`, { cause })
    if (code !== undefined && /^E[A-Z0-9]+$/.test(code) && (cause as NodeJS.ErrnoException).syscall !== undefined) {
      throw new RefusedError(`${where()}: cannot be read (${code})`, { cause })
    }
    throw cause
  } finally {
    stack.forEach(closeFrame)
  }
}

function openFrame(path: Buffer, before: BigIntStats): Frame {
  if (path.length <= MAX_PATH_BYTES) return { path, fd: undefined, before, names: list(path), next: 0 }
  const fd = openSync(path, OPEN_FLAGS | constants.O_DIRECTORY)
  const short = Buffer.from(`/proc/self/fd/${fd}`)
  return { path: short, fd, before, names: list(short), next: 0 }
}

function statFrame(frame: Frame): BigIntStats {
  return frame.fd === undefined ? lstatSync(frame.path, { bigint: true }) : fstatSync(frame.fd, { bigint: true })
}

function closeFrame(frame: Frame): void {
  if (frame.fd !== undefined) closeSync(frame.fd)
}

function list(path: Buffer): Buffer[] {
  return readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)
}

/** Reads one regular file into the builder's own room. */
function* readFile(
  path: Buffer,
  name: Uint8Array,
  stat: BigIntStats,
  builder: TreeBuilder,
  progress: WalkProgress,
  where: () => string,
): Generator<void> {
  const fd = openSync(path, OPEN_FLAGS)
  try {
    const before = fstatSync(fd, { bigint: true })
    if (changed(stat, before)) throw changedFile(where())
    const size = Number(before.size)
    builder.file(name, (before.mode & 0o100n) !== 0n, size)
    let sinceYield = 0
    for (let left = size; left > 0; ) {
      const room = builder.space()
      const got = readSync(fd, room, 0, room.length, null)
      if (got === 0) throw changedFile(where())
      builder.filled(got)
      left -= got
      progress.bytes += got
      sinceYield += got
      // Between two chunks only: room that was begun is not the caller's to take away.
      if (sinceYield >= YIELD_BYTES && got === room.length) {
        sinceYield = 0
        yield
      }
    }
    if (changed(before, fstatSync(fd, { bigint: true }))) throw changedFile(where())
    builder.endFile()
  } finally {
    closeSync(fd)
  }
}

function changedFile(where: string): ChangedError {
  return new ChangedError(`${where}: changed while it was read; try again`)
}

function changed(a: BigIntStats, b: BigIntStats): boolean {
  return (
    a.ino !== b.ino ||
    a.dev !== b.dev ||
    a.mode !== b.mode ||
    a.size !== b.size ||
    a.mtimeNs !== b.mtimeNs ||
    a.ctimeNs !== b.ctimeNs
  )
}

function oddKind(stat: BigIntStats): string {
  if (stat.isSocket()) return 'socket'
  if (stat.isFIFO()) return 'fifo'
  return stat.isCharacterDevice() || stat.isBlockDevice() ? 'device' : 'file of unknown type'
}
