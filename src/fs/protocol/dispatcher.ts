import { type NodeId, ROOT_NODE } from '../../index/types.ts'
import { MAX_NAME_BYTES } from '../../nix/tree.ts'
import { Miss } from '../../store/reader.ts'
import { counter } from '../counters.ts'
import { errno } from '../errno.ts'
import type { ReadOnlyFs } from '../types.ts'
import { cookieAt, packEntries } from './dirents.ts'
import { MAX_READ } from './init.ts'
import {
  ATTR_OUT,
  ENTRY_OUT,
  GETXATTR_IN,
  GETXATTR_OUT,
  IN_HEADER,
  OUT_HEADER,
  READ_IN,
  STATFS_OUT,
} from './layouts.ts'
import { type Computed, operationName, operations } from './operations.ts'
import { ReplyBuffer } from './reply.ts'
import type { RequestView } from './request.ts'

const BODY_IN = IN_HEADER.size
const BODY_OUT = OUT_HEADER.size

/** Of the only extended attribute, which Kubo's own mounts have too: the CID of a file, folder or link. */
const CID_ATTRIBUTE = 'ipfs.cid'

export interface DispatcherOptions {
  fs: ReadOnlyFs
  /** Answer GETXATTR and LISTXATTR; otherwise the kernel is told not to ask. */
  xattr: boolean
  /** A row of Counters. */
  counters: Float64Array
  /** Hears of what is answered with EIO. */
  failed(what: string, error: unknown): void
}

/** Turns requests into replies, whoever reads the ones and writes the others. Not reentrant: there is one output. */
export class Dispatcher {
  readonly #options: DispatcherOptions
  readonly #fs: ReadOnlyFs
  readonly #counters: Float64Array
  readonly #reply = new ReplyBuffer(MAX_READ)
  readonly #handlers: Record<Computed, (request: RequestView) => number | Miss>
  #uniqueLow = 0
  #uniqueHigh = 0

  constructor(options: DispatcherOptions) {
    this.#options = options
    this.#fs = options.fs
    this.#counters = options.counters
    const noXattr = () => this.#error(errno.ENOSYS)
    this.#handlers = {
      lookup: request => this.#lookup(request),
      getattr: request => this.#getattr(request),
      readlink: request => this.#readlink(request),
      read: request => this.#read(request),
      readdir: request => this.#readdir(request, false),
      readdirplus: request => this.#readdir(request, true),
      statfs: () => this.#statfs(),
      getxattr: options.xattr ? request => this.#getxattr(request) : noXattr,
      listxattr: options.xattr ? request => this.#listxattr(request) : noXattr,
    }
  }

  /** Where the reply lies after {@link answer} or {@link fail}, until the next call of one of them. */
  get output(): Buffer {
    return this.#reply.bytes
  }

  /**
   * Answers a request of `length` bytes: the length of the reply in {@link output}, 0 where there is none, or what has
   * to be fetched before the request is answered again from the start. Never throws.
   */
  answer(request: RequestView, length: number): number | Miss {
    const whole = request.set(length)
    if (length < IN_HEADER.unique + 8) return this.#malformed(0)
    this.#take(request)
    const operation = operations[request.opcode]
    const short = !whole || request.bodyLength < (operation?.body ?? 0)
    // Nobody waits for an answer to these, so there is none to a malformed one either.
    if (operation?.decision === 'silence') return short ? this.#malformed(0) : 0
    if (short) return this.#malformed(errno.EINVAL)
    if (operation === undefined) return this.#malformed(errno.ENOSYS)
    const { decision } = operation
    if (typeof decision === 'object') return this.#error(decision.errno)
    try {
      return this.#handlers[decision](request)
    } catch (error) {
      this.#counters[counter.failures]!++
      this.#options.failed(this.describe(request), error)
      return this.#error(errno.EIO)
    }
  }

  /** A reply of an errno, or of success without a body, to a request of at least 16 bytes. */
  fail(request: RequestView, error: number): number {
    this.#take(request)
    return this.#error(error)
  }

  /** A reply with this body. */
  succeed(request: RequestView, body: Uint8Array): number {
    this.#take(request)
    this.#reply.bytes.set(body, BODY_OUT)
    return this.#done(body.length)
  }

  #take(request: RequestView): void {
    this.#uniqueLow = request.u32(IN_HEADER.unique)
    this.#uniqueHigh = request.u32(IN_HEADER.unique + 4)
  }

  #error(error: number): number {
    return this.#reply.header(0, error, this.#uniqueLow, this.#uniqueHigh)
  }

  #done(bodyBytes: number): number {
    return this.#reply.header(bodyBytes, 0, this.#uniqueLow, this.#uniqueHigh)
  }

  #malformed(error: number): number {
    this.#counters[counter.malformed]!++
    return error === 0 ? 0 : this.#error(error)
  }

  /** For a message: what was asked about which node. */
  describe(request: RequestView): string {
    let where: string
    try {
      where = this.#fs.describe(request.nodeid as NodeId)
    } catch {
      where = `node ${request.nodeid}`
    }
    return `${where}: ${operationName(request.opcode)}`
  }

  #lookup(request: RequestView): number {
    const directory = nodeOf(request)
    const name = request.name(0)
    if (name === undefined) return this.#malformed(errno.EINVAL)
    if (name.length > MAX_NAME_BYTES) return this.#error(errno.ENAMETOOLONG)
    const entry = directory && this.#fs.lookup(directory, name)
    if (entry !== undefined) {
      this.#reply.entry(BODY_OUT, entry)
      return this.#done(ENTRY_OUT.size)
    }
    // At the root a name may appear at any time; below, only what exists can be without it for ever.
    if (directory === ROOT_NODE) return this.#error(errno.ENOENT)
    const kind = directory && this.#fs.attributes(directory)?.kind
    if (kind !== 'directory') return this.#error(kind === undefined ? errno.ENOENT : errno.ENOTDIR)
    this.#reply.noEntry(BODY_OUT)
    return this.#done(ENTRY_OUT.size)
  }

  #getattr(request: RequestView): number {
    const id = nodeOf(request)
    const node = id && this.#fs.attributes(id)
    if (node === undefined) return this.#error(errno.ENOENT)
    this.#reply.attrOut(BODY_OUT, node)
    return this.#done(ATTR_OUT.size)
  }

  #readlink(request: RequestView): number {
    const id = nodeOf(request)
    const target = id && this.#fs.readlink(id)
    if (target === undefined) return this.#wrongKind(id, errno.EINVAL)
    this.#reply.bytes.set(target, BODY_OUT)
    return this.#done(target.length)
  }

  #read(request: RequestView): number | Miss {
    const id = nodeOf(request)
    const offset = request.u64(BODY_IN + READ_IN.offset)
    const length = request.u32(BODY_IN + READ_IN.length)
    if (length > MAX_READ) return this.#error(errno.EINVAL)
    const got = id && this.#fs.read(id, offset, length, this.#reply.bytes, BODY_OUT)
    if (got === undefined) return this.#wrongKind(id, errno.EISDIR)
    if (got instanceof Miss) return got
    this.#counters[counter.bytesRead]! += got
    return this.#done(got)
  }

  #readdir(request: RequestView, plus: boolean): number {
    const id = nodeOf(request)
    const offset = request.u64(BODY_IN + READ_IN.offset)
    const length = Math.min(request.u32(BODY_IN + READ_IN.length), MAX_READ)
    const listed = id && this.#fs.list(id, cookieAt(offset))
    if (id === undefined || listed === undefined) return this.#wrongKind(id, errno.ENOTDIR)
    const used = packEntries(this.#reply, BODY_OUT, length, id, offset, listed, plus)
    // As getdents(2) says it: an empty reply would be the end of the listing.
    return used === undefined ? this.#error(errno.EINVAL) : this.#done(used)
  }

  #statfs(): number {
    this.#reply.statfs(BODY_OUT, this.#fs.usage())
    return this.#done(STATFS_OUT.size)
  }

  #getxattr(request: RequestView): number {
    const name = request.name(GETXATTR_IN.size)
    if (name === undefined) return this.#malformed(errno.EINVAL)
    const value = name.toString('latin1') === CID_ATTRIBUTE ? this.#cid(request) : undefined
    return value === undefined ? this.#error(errno.ENODATA) : this.#sized(request, Buffer.from(value))
  }

  #listxattr(request: RequestView): number {
    const has = this.#cid(request) !== undefined
    return this.#sized(request, Buffer.from(has ? `${CID_ATTRIBUTE}\0` : ''))
  }

  #cid(request: RequestView): string | undefined {
    const id = nodeOf(request)
    return id && this.#fs.cid(id)
  }

  /** A value or list for who asks with room for a number of bytes; with none, he asks how many it has. */
  #sized(request: RequestView, value: Buffer): number {
    const room = request.u32(BODY_IN + GETXATTR_IN.length)
    if (room === 0) {
      this.#reply.u64(BODY_OUT, value.length)
      return this.#done(GETXATTR_OUT.size)
    }
    if (value.length > room) return this.#error(errno.ERANGE)
    this.#reply.bytes.set(value, BODY_OUT)
    return this.#done(value.length)
  }

  #wrongKind(id: NodeId | undefined, error: number): number {
    const exists = id !== undefined && this.#fs.attributes(id) !== undefined
    return this.#error(exists ? error : errno.ENOENT)
  }
}

/** Undefined where the number can be no node's: ids are below 2^53. */
function nodeOf(request: RequestView): NodeId | undefined {
  const id = request.nodeid
  return id > 0 && Number.isSafeInteger(id) ? (id as NodeId) : undefined
}
