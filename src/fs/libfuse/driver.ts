import { createRequire } from 'node:module'
import type { Answer, FuseStat, Operations } from 'fuse-native'
import { asBuffer } from '../../bytes.ts'
import { MountError } from '../../errors.ts'
import type { NodeEntry } from '../../index/types.ts'
import type { Logger } from '../../log.ts'
import { MAX_NAME_BYTES } from '../../nix/tree.ts'
import { Miss } from '../../store/reader.ts'
import { blocksOf, IO_BYTES, modeOf, NIX_TIME } from '../attributes.ts'
import { errno } from '../errno.ts'
import { FUSE_SUBTYPE, mountAt } from '../mountinfo.ts'
import { lazyUnmount } from '../mountpoint.ts'
import { RecentErrors, type ServerStatus } from '../status.ts'
import type { Attributes, Ending, MountedFs, ReadOnlyFs } from '../types.ts'
import { fuseDescriptors, invalidateRootEntry } from './invalidate.ts'
import { PathWalk } from './path-walk.ts'

/**
 * The filesystem through fuse-native (libfuse 2.9, path-based), for users without root rights. What it cannot do:
 * names and symlink targets that are not UTF-8, inode numbers over 32 bits, negative entries kept by the kernel.
 *
 * Contents never change, so the kernel may keep everything for ever; only names at the root can go, and those are
 * invalidated when they do. OPEN is answered with ENOSYS: the kernel then opens by itself and never asks again.
 */

export interface LibfuseOptions {
  fs: ReadOnlyFs
  /** Absolute. */
  mountpoint: string
  log: Logger
  /** Brings here what a read has missed, or throws, which is EIO. */
  fetch(miss: Miss): Promise<void>
}

// No import: where an imported CommonJS module throws, as this one without libfuse.so.2, Node 20 ends with a stack trace
// although the error is caught.
const Fuse = createRequire(import.meta.url)('fuse-native') as typeof import('fuse-native').default

/** Longest mount point that fuse-native has room for, bytes. */
const MAX_MOUNTPOINT_BYTES = 1023

/** Seconds; as long as the kernel's own arithmetic surely takes. */
const FOR_EVER = 365 * 24 * 3600

const MAX_READ = 128 * 1024
const INODE_MODULUS = 2 ** 32
const WATCH_INTERVAL_MS = 500

const mutatingOperations = [
  'mknod',
  'mkdir',
  'unlink',
  'rmdir',
  'symlink',
  'rename',
  'link',
  'chmod',
  'chown',
  'truncate',
  'ftruncate',
  'utimens',
  'create',
  'setxattr',
  'removexattr',
  'write',
] as const

/** Mounts and answers until unmounted. Throws MountError. */
export async function mountLibfuse(options: LibfuseOptions): Promise<LibfuseMount> {
  const { mountpoint } = options
  if (Buffer.byteLength(mountpoint) > MAX_MOUNTPOINT_BYTES) {
    throw new MountError(`${mountpoint}: is longer than ${MAX_MOUNTPOINT_BYTES} bytes; name a shorter mount point`)
  }
  const before = fuseDescriptors()
  const operations = new LibfuseOperations(options)
  const fuse = new Fuse(mountpoint, operations.table(), {
    timeout: false,
    fsname: `${FUSE_SUBTYPE},ro,use_ino`,
    subtype: FUSE_SUBTYPE,
    kernelCache: true,
    defaultPermissions: true,
    allowOther: process.getuid?.() === 0,
    maxRead: MAX_READ,
    entryTimeout: FOR_EVER,
    attrTimeout: FOR_EVER,
  })
  await new Promise<void>((resolve, reject) => {
    fuse.mount(error => {
      if (error) reject(new MountError(`${mountpoint}: cannot be mounted: ${error.message}`, { cause: error }))
      else resolve()
    })
  })
  const descriptor = [...fuseDescriptors()].find(fd => !before.has(fd))
  return new LibfuseMount(options, operations, descriptor)
}

/** What the operations count. */
export type LibfuseCounts = Pick<
  ServerStatus,
  'requests' | 'messages' | 'misses' | 'inFlight' | 'bytesRead' | 'failures' | 'lastErrors'
>

export class LibfuseMount implements MountedFs {
  readonly ended: Promise<Ending | undefined>
  readonly #options: LibfuseOptions
  readonly #operations: LibfuseOperations
  readonly #descriptor: number | undefined
  readonly #watch: NodeJS.Timeout
  #end!: (ending: Ending | undefined) => void

  constructor(options: LibfuseOptions, operations: LibfuseOperations, descriptor: number | undefined) {
    this.#options = options
    this.#operations = operations
    this.#descriptor = descriptor
    this.ended = new Promise(resolve => {
      this.#end = resolve
    })
    // libfuse does not tell when somebody else unmounts.
    const id = mountAt(options.mountpoint)?.id
    this.#watch = setInterval(() => {
      if (mountAt(options.mountpoint)?.id !== id) this.#finish({ why: 'it was unmounted from outside', failed: false })
    }, WATCH_INTERVAL_MS)
  }

  pathsChanged(): void {
    const { log } = this.#options
    for (const name of this.#operations.forgetGone()) {
      if (this.#descriptor === undefined)
        log.warn(`${name}: is no longer known, but the kernel may show it until it is unmounted`)
      else
        invalidateRootEntry(this.#descriptor, name, error =>
          log.warn(`${name}: the kernel may still show it: ${error.message}`),
        )
    }
  }

  counts(): LibfuseCounts {
    return this.#operations.counts()
  }

  async unmount(): Promise<void> {
    clearInterval(this.#watch)
    await lazyUnmount(this.#options.mountpoint)
    this.#finish(undefined)
  }

  #finish(ending: Ending | undefined): void {
    clearInterval(this.#watch)
    this.#end(ending)
  }
}

/** libfuse's operations on the filesystem core. Each answers exactly once; whatever it throws is EIO and a log line. */
class LibfuseOperations {
  readonly #fs: ReadOnlyFs
  readonly #log: Logger
  readonly #fetch: (miss: Miss) => Promise<void>
  readonly #walk: PathWalk
  /** Names at the root that the kernel may have kept, with their node ids. */
  readonly #rootNames = new Map<string, number>()
  /** By libfuse's names of the operations. */
  readonly #requests: Record<string, number> = {}
  readonly #errors = new RecentErrors()
  #misses = 0
  #inFlight = 0
  #bytesRead = 0
  #failures = 0

  constructor({ fs, log, fetch }: LibfuseOptions) {
    this.#fs = fs
    this.#log = log
    this.#fetch = fetch
    this.#walk = new PathWalk(fs)
  }

  table(): Operations {
    const refuse = (...args: unknown[]) => (args.at(-1) as Answer)(-errno.EROFS)
    return this.#counted({
      ...Object.fromEntries(mutatingOperations.map(name => [name, refuse])),
      getattr: (path, answer) => this.#withNode(path, answer, node => answer(0, statOf(node))),
      fgetattr: (path, _fd, answer) => this.#withNode(path, answer, node => answer(0, statOf(node))),
      readlink: (path, answer) => this.#withNode(path, answer, node => this.#readlink(path, node, answer)),
      readdir: (path, answer) => this.#withNode(path, answer, node => this.#readdir(path, node, answer)),
      open: (_path, _flags, answer) => answer(-errno.ENOSYS),
      read: (path, _fd, buffer, length, position, answer) =>
        this.#withNode(path, answer, node => this.#read(path, node, buffer, length, position, answer)),
      statfs: (_path, answer) => this.#guard('statfs', answer, () => answer(0, this.#statfs())),
    })
  }

  #counted(table: Operations): Operations {
    const count = ([name, operation]: [string, (...args: never[]) => void]) => {
      const counted = (...args: never[]) => {
        this.#requests[name] = (this.#requests[name] ?? 0) + 1
        operation(...args)
      }
      return [name, counted]
    }
    return Object.fromEntries(Object.entries(table).map(count)) as unknown as Operations
  }

  counts(): LibfuseCounts {
    return {
      requests: { ...this.#requests },
      messages: Object.values(this.#requests).reduce((sum, count) => sum + count, 0),
      misses: this.#misses,
      inFlight: this.#inFlight,
      bytesRead: this.#bytesRead,
      failures: this.#failures,
      lastErrors: this.#errors.list(),
    }
  }

  /** Drops what is remembered of paths; the root's names that are gone or are something else now. */
  forgetGone(): string[] {
    this.#walk.clear()
    const gone: string[] = []
    for (const [name, id] of this.#rootNames) {
      if (this.#walk.find(`/${name}`)?.id === id) continue
      this.#rootNames.delete(name)
      gone.push(name)
    }
    return gone
  }

  #guard(path: string, answer: (result: number) => void, operation: () => void): void {
    try {
      operation()
    } catch (error) {
      this.#fail(path, answer, error)
    }
  }

  #fail(path: string, answer: (result: number) => void, error: unknown): void {
    const message = `${path}: ${error instanceof Error ? error.message : error}`
    this.#log.warn(message)
    this.#errors.add(message)
    this.#failures++
    answer(-errno.EIO)
  }

  #withNode(path: string, answer: (result: number) => void, operation: (node: NodeEntry) => void): void {
    this.#guard(path, answer, () => {
      const node = this.#walk.find(path)
      if (node === undefined) return answer(isTooLong(path) ? -errno.ENAMETOOLONG : -errno.ENOENT)
      if (path.lastIndexOf('/') === 0 && path.length > 1) this.#rootNames.set(path.slice(1), node.id)
      operation(node)
    })
  }

  #readlink(path: string, node: NodeEntry, answer: Answer<[string]>): void {
    const target = this.#fs.readlink(node.id)
    if (target === undefined) return answer(node.kind === 'symlink' ? -errno.ENOENT : -errno.EINVAL)
    const text = target.toString('utf8')
    if (!Buffer.from(text, 'utf8').equals(target))
      throw new Error(`${path}: its target is not UTF-8, which the libfuse driver cannot pass on`)
    answer(0, text)
  }

  #readdir(path: string, node: NodeEntry, answer: Answer<[string[], FuseStat[]]>): void {
    const listed = this.#fs.list(node.id, 0)
    if (listed === undefined) return answer(node.kind === 'directory' ? -errno.ENOENT : -errno.ENOTDIR)
    const parent = this.#walk.find(path.slice(0, path.lastIndexOf('/')) || '/') ?? node
    const names = ['.', '..']
    const stats = [statOf(node), statOf(parent)]
    for (const { entry } of listed) {
      names.push(asBuffer(entry.name).toString('utf8'))
      stats.push(statOf(entry))
    }
    answer(0, names, stats)
  }

  #read(path: string, node: NodeEntry, buffer: Buffer, length: number, position: number, answer: Answer): void {
    const got = this.#fs.read(node.id, position, length, buffer, 0)
    if (got === undefined) return answer(node.kind === 'file' ? -errno.ENOENT : -errno.EISDIR)
    if (!(got instanceof Miss)) {
      this.#bytesRead += got
      return answer(got)
    }
    this.#misses++
    this.#inFlight++
    const fetched = this.#fetch(got).finally(() => this.#inFlight--)
    fetched.then(
      () => this.#guard(path, answer, () => this.#read(path, node, buffer, length, position, answer)),
      error => this.#fail(path, answer, error),
    )
  }

  #statfs() {
    let { blockSize, blocks, free, available } = this.#fs.usage()
    // fuse-native has 32 bits for each number.
    while (blocks >= INODE_MODULUS)
      [blockSize, blocks, free, available] = [blockSize * 2, blocks / 2, free / 2, available / 2]
    const counts = { blocks: Math.floor(blocks), bfree: Math.floor(free), bavail: Math.floor(available) }
    return {
      bsize: blockSize,
      frsize: blockSize,
      ...counts,
      files: 0,
      ffree: 0,
      favail: 0,
      fsid: 0,
      flag: 0,
      namemax: MAX_NAME_BYTES,
    }
  }
}

/** The last name of a path; the kernel has looked up those before. */
function isTooLong(path: string): boolean {
  return Buffer.byteLength(path) - Buffer.byteLength(path.slice(0, path.lastIndexOf('/') + 1)) > MAX_NAME_BYTES
}

function statOf(node: Attributes): FuseStat {
  const time = NIX_TIME * 1000
  return {
    mode: modeOf(node),
    uid: 0,
    gid: 0,
    size: node.size,
    nlink: 1,
    ino: node.id % INODE_MODULUS,
    blksize: IO_BYTES,
    blocks: blocksOf(node.size),
    atime: time,
    mtime: time,
    ctime: time,
  }
}
