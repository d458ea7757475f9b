import type { BlockReader, FetchBlock } from '../blocks/types.ts'
import { asBuffer, bytesToText } from '../bytes.ts'
import { type CidBytes, cidText, dagPbCid, multihashCode, readCid, sha256 } from '../cid.ts'
import { DamagedError, MissingBlockError, UnknownPathError } from '../errors.ts'
import type { IndexReader, NodeEntry, NodeId, NodeRecord, PathRecord } from '../index/types.ts'
import { fullPath, isHashPart, parseStorePath } from '../nix/store-path.ts'
import { encodeSymlinkNode } from '../unixfs/node.ts'

export type FileNode = Extract<NodeRecord, { kind: 'file' }>

/** What a synchronous read needs and is not here: the block to fetch before it is tried again, and whose it is. */
export class Miss {
  readonly cid: CidBytes
  readonly file: FileNode | undefined
  constructor(cid: CidBytes, file?: FileNode) {
    this.cid = cid
    this.file = file
  }
}

/** Reads what the store holds: paths, nodes below them, bytes of files. */
export class StoreReader {
  readonly index: IndexReader
  readonly blocks: BlockReader
  /** Brings what is missing here, where anything can; throws MissingBlockError where nothing can. */
  readonly fetch: FetchBlock
  /** By CID, see {@link holdBack}. */
  readonly #heldBack = new Set<string>()

  constructor(index: IndexReader, blocks: BlockReader, fetch: FetchBlock = refuseToFetch) {
    this.index = index
    this.blocks = blocks
    this.fetch = fetch
  }

  /** A path by full path, base name or hash part. Throws UnknownPathError. */
  path(argument: string): PathRecord {
    const baseName = parseStorePath(argument)
    const record =
      baseName !== undefined
        ? this.index.path(baseName)
        : isHashPart(argument)
          ? this.index.pathByHashPart(argument)
          : undefined
    if (record !== undefined) return record
    const shown = baseName === undefined ? JSON.stringify(argument) : fullPath(baseName)
    const why =
      baseName === undefined && !isHashPart(argument)
        ? 'is not a store path (full path, base name or hash part)'
        : 'is not known here; add it first'
    throw new UnknownPathError(`${shown}: ${why}`)
  }

  /** The path's root as an entry, its name the base name. */
  rootEntry(record: PathRecord): NodeEntry {
    const { firstNode: id, kind, executable, size } = record
    return { name: Buffer.from(record.baseName), id, kind, executable, size }
  }

  /** What a node is; it must be there, because something that is there named it. */
  node(id: NodeId): NodeRecord {
    const node = this.index.node(id)
    if (node === undefined) throw new DamagedError(`the index has no node ${id}; forget its path and add it again`)
    return node
  }

  /**
   * Reads up to `length` bytes of a file from `offset` into `target` at `at`, fewer only where the file ends; the
   * number of bytes, or what is missing. Throws DamagedError.
   */
  read(file: FileNode, offset: number, length: number, target: Buffer, at: number): number | Miss {
    const wanted = Math.max(0, Math.min(length, file.size - offset))
    if (wanted === 0) return 0
    const held = this.isHeldBack(file)
    let done = 0
    for (const slice of this.index.leaves(file.cid, file.size, offset, wanted)) {
      if (slice.offset !== offset + done) break
      if (held || !this.#readBlock(slice.cid, slice.start, slice.length, target, at + done))
        return new Miss(slice.cid, file)
      done += slice.length
    }
    if (done !== wanted)
      throw new DamagedError(`file ${cidText(file.cid)}: its leaf table ends at ${offset + done} of ${file.size} bytes`)
    return done
  }

  /** From now on every read of the file is a miss, also of what is here: it is wanted whole or not at all. */
  holdBack(file: FileNode): void {
    this.#heldBack.add(keyOf(file))
  }

  /** Ends {@link holdBack}. */
  letGo(file: FileNode): void {
    this.#heldBack.delete(keyOf(file))
  }

  isHeldBack(file: FileNode): boolean {
    return this.#heldBack.size > 0 && this.#heldBack.has(keyOf(file))
  }

  /** True where a read finds the block without fetching it. */
  hasBlock(cid: CidBytes): boolean {
    const parts = readCid(cid)
    return parts?.multihashCode === multihashCode.identity || this.blocks.has(parts?.multihash ?? cid)
  }

  #readBlock(cid: CidBytes, start: number, length: number, target: Buffer, at: number): boolean {
    const parts = readCid(cid)
    if (parts === undefined) throw new DamagedError(`the index has a malformed CID ${Buffer.from(cid).toString('hex')}`)
    if (parts.multihashCode !== multihashCode.identity)
      return this.blocks.readInto(parts.multihash, start, length, target, at)
    return parts.digest.copy(target, at, start, start + length) === length
  }

  /** The file's bytes in order, in buffers of at most 1 MiB that the next one overwrites. Throws what fetch throws. */
  async *contents(file: FileNode): AsyncGenerator<Buffer> {
    const buffer = Buffer.allocUnsafe(Math.min(file.size, 1024 * 1024))
    for (let offset = 0; offset < file.size; ) {
      const got = this.read(file, offset, buffer.length, buffer, 0)
      if (got instanceof Miss) {
        await this.fetch(got.cid)
        continue
      }
      yield buffer.subarray(0, got)
      offset += got
    }
  }

  /** The entry at `names` below the path, or undefined. */
  descend(record: PathRecord, names: readonly Uint8Array[]): NodeEntry | undefined {
    let entry: NodeEntry | undefined = this.rootEntry(record)
    for (const name of names) {
      if (entry?.kind !== 'directory') return undefined
      entry = this.index.lookup(entry.id, name)
    }
    return entry
  }

  /** Everything below a directory in NAR order, with its path from there, `prefix` before it. */
  *below(directory: NodeEntry, prefix = ''): Generator<{ entry: NodeEntry; path: string }> {
    const open = ({ id }: NodeEntry, prefix: string) => ({
      entries: this.index.entries(id, 0)[Symbol.iterator](),
      prefix,
    })
    const stack = [open(directory, prefix)]
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const next = top.entries.next()
      if (next.done === true) {
        stack.pop()
        continue
      }
      const entry = next.value
      const path = top.prefix + bytesToText(entry.name)
      yield { entry, path }
      if (entry.kind === 'directory') stack.push(open(entry, `${path}/`))
    }
  }
}

/** The CID under which a node is in IPFS; that of a link follows from its target. */
export function cidOfNode(node: NodeRecord): CidBytes {
  return node.kind === 'symlink' ? dagPbCid(sha256(encodeSymlinkNode(node.target))) : node.cid
}

function keyOf(file: FileNode): string {
  return asBuffer(file.cid).toString('latin1')
}

async function refuseToFetch(cid: CidBytes): Promise<void> {
  throw new MissingBlockError(`block ${cidText(cid)} is not here and no source has it`)
}
