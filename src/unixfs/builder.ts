import type { BlockWriter } from '../blocks/types.ts'
import { type CidBytes, dagPbCid, rawCid, sha256 } from '../cid.ts'
import { NarWriter } from '../nix/nar-writer.ts'
import type { NodeKind, TreeSink } from '../nix/tree.ts'
import { BalancedDag } from './balanced.ts'
import { BufferedHash } from './buffered-hash.ts'
import { writeDirectory } from './directory.ts'
import { type HashedLeaf, LeafHasher } from './leaf-hasher.ts'
import { NarDag } from './nar-dag.ts'
import { encodeSymlinkNode } from './node.ts'
import { CHUNK_BYTES, EXECUTABLE_MODE } from './profile.ts'
import type { ChildEntry, Leaf, NodeSink } from './types.ts'

/** What one pass over a tree has found. */
export interface TreeResult {
  /** CID of the tree. */
  root: CidBytes
  kind: NodeKind
  /** Always false but for a regular file. */
  executable: boolean
  /** What stat says of the root: bytes of a file, length of a link's target, 0 for a directory. */
  size: number
  /** CID of the NAR DAG. */
  nar: CidBytes
  /** sha2-256 of the NAR, 32 bytes. */
  narHash: Buffer
  narSize: number
  /** Sum of the sizes of its regular files. */
  totalSize: number
  /** Number of nodes, the root included. */
  entries: number
}

/** An entry with what its parent's node says of it. */
interface BuiltEntry extends ChildEntry {
  cid: Buffer
  tsize: number
}

interface OpenDirectory {
  id: number
  name: Buffer
  entries: BuiltEntry[]
}

const EMPTY_ROOM = Buffer.alloc(0)

/** One for all trees of the process: its thread is started once. */
const leafHasher = new LeafHasher()

/**
 * The importer: takes a tree as a stream of events and makes blocks, metadata, the NAR's hash and the NAR DAG of it in
 * one pass. Memory is that of the open directories' entries and one file's leaf table.
 *
 * A file's contents come through {@link contents}, which copies them, or without a copy through {@link space} and
 * {@link filled}. A file is cut in chunks; each is gathered in the writer's own buffer. A reservation ends with any
 * put, so between the first byte of a chunk and the chunk's own put nothing else is put: the NAR writer's framing
 * may fill a node of the NAR DAG, but it comes before a file's first byte or after its last one. Chunks that another
 * thread hashes are held, one behind the other, and put together before anything else is.
 */
export class TreeBuilder implements TreeSink {
  readonly #writer: BlockWriter
  readonly #nodes: NodeSink
  readonly #nar: NarWriter
  readonly #narHash = new BufferedHash()
  readonly #narDag: NarDag
  readonly #fileDag: BalancedDag
  readonly #stack: OpenDirectory[] = []
  #root: BuiltEntry | undefined
  #entries = 0
  #totalSize = 0

  // The file that is open.
  #id = 0
  #name: Buffer = EMPTY_ROOM
  #executable = false
  #size = 0
  /** Bytes of the file that have not come yet. */
  #remaining = 0
  /** Room for the chunk that is being gathered; empty before its first byte. */
  #room: Buffer = EMPTY_ROOM
  #roomFilled = 0
  /** Chunks that the leaf hasher has. */
  #held: Buffer[] = []
  #leaves: Leaf[] = []

  constructor(options: { writer: BlockWriter; nodes: NodeSink }) {
    this.#writer = options.writer
    this.#nodes = options.nodes
    this.#narDag = new NarDag(options.writer)
    this.#fileDag = new BalancedDag(options.writer)
    this.#nar = new NarWriter({
      framing: bytes => {
        this.#narHash.update(bytes)
        this.#narDag.framing(bytes)
      },
      contents: bytes => this.#narHash.update(bytes),
    })
  }

  directory(name: Uint8Array): void {
    this.#nar.directory(name)
    this.#stack.push({ id: this.#entries++, name: Buffer.from(name), entries: [] })
  }

  endDirectory(): void {
    this.#nar.endDirectory()
    const { id, name, entries } = this.#stack.pop()!
    const { cid, tsize } = writeDirectory(this.#writer, entries)
    this.#nodes.directory(id, cid, entries)
    this.#add({ name, kind: 'directory', executable: false, size: 0, id, cid, tsize })
  }

  symlink(name: Uint8Array, target: Uint8Array): void {
    this.#nar.symlink(name, target)
    const id = this.#entries++
    const block = encodeSymlinkNode(target)
    const cid = dagPbCid(this.#put(block))
    this.#nodes.symlink(id, target)
    const size = target.length
    this.#add({ name: Buffer.from(name), kind: 'symlink', executable: false, size, id, cid, tsize: block.length })
  }

  file(name: Uint8Array, executable: boolean, size: number): void {
    this.#nar.file(name, executable, size)
    this.#id = this.#entries++
    this.#name = Buffer.from(name)
    this.#executable = executable
    this.#size = size
    this.#remaining = size
    this.#leaves = []
    if (size > CHUNK_BYTES) leafHasher.announce(size)
  }

  contents(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const space = this.space()
      if (space.length === 0) {
        // More than the file's size: the NAR writer says so.
        this.#nar.contents(bytes.subarray(at))
        return
      }
      const length = Math.min(space.length, bytes.length - at)
      space.set(bytes.subarray(at, at + length))
      this.filled(length)
      at += length
    }
  }

  /**
   * Where the next bytes of the open file belong: the rest of the room for its current chunk, empty once the file is
   * complete. Valid until the next call of any other method. Fill a prefix of it, then call {@link filled}.
   */
  space(): Buffer {
    if (this.#room.length === 0 && this.#remaining > 0) {
      this.#room = this.#nextRoom(Math.min(CHUNK_BYTES, this.#remaining))
      this.#roomFilled = 0
    }
    return this.#roomFilled === 0 ? this.#room : this.#room.subarray(this.#roomFilled)
  }

  #nextRoom(length: number): Buffer {
    const room = this.#held.length > 0 ? this.#writer.reserveBehind?.(this.#held, length) : undefined
    if (room !== undefined) return room
    this.#putChunks()
    return this.#writer.reserve(length).subarray(0, length)
  }

  /** The first `length` bytes of {@link space} are the file's next bytes. */
  filled(length: number): void {
    const room = this.#room
    const end = this.#roomFilled + length
    if (end > room.length) throw new RangeError(`${length} bytes filled in where there was less space`)
    const whole = end === room.length && end > 0
    this.#remaining -= length
    // Of the last chunk the caller could only wait for the thread.
    const given = whole && this.#remaining > 0 && this.#giveChunk(room)
    this.#nar.contents(room.subarray(this.#roomFilled, end))
    this.#roomFilled = end
    if (!whole) return
    this.#room = EMPTY_ROOM
    this.#roomFilled = 0
    if (!given) this.#putChunks({ bytes: room, digest: sha256(room) })
    if (this.#remaining === 0) leafHasher.release(this)
  }

  /** True where another thread hashes it now. */
  #giveChunk(chunk: Buffer): boolean {
    if (this.#writer.reserveBehind === undefined || !leafHasher.give(this, chunk)) return false
    this.#held.push(chunk)
    return true
  }

  /** Gives up the tree: nothing may be told to it afterwards. */
  abandon(): void {
    leafHasher.release(this)
  }

  endFile(): void {
    this.#nar.endFile()
    const id = this.#id
    const size = this.#size
    const executable = this.#executable
    const leaves = this.#leaves
    let cid: Buffer
    let tsize = size
    if (executable || leaves.length > 1) {
      for (const leaf of leaves) this.#fileDag.add(leaf.cid, leaf.length, leaf.length)
      const dag = this.#fileDag.finish(executable ? EXECUTABLE_MODE : undefined)
      cid = dag.cid
      tsize = dag.tsize
      this.#nodes.file(id, executable, size, cid, leaves)
    } else {
      // One chunk is itself the file, and so is the empty block.
      cid = leaves.length === 1 ? (leaves[0]!.cid as Buffer) : rawCid(this.#put(EMPTY_ROOM))
      this.#nodes.file(id, false, size, cid, undefined)
    }
    this.#totalSize += size
    this.#add({ name: this.#name, kind: 'file', executable, size, id, cid, tsize })
  }

  /** Ends the tree, of which nothing may be left open. Nothing can be added afterwards. */
  finish(): TreeResult {
    this.#nar.finish()
    const { cid: nar } = this.#narDag.finish()
    const { cid: root, kind, executable, size } = this.#root!
    return {
      root,
      kind,
      executable,
      size,
      nar,
      narHash: this.#narHash.digest(),
      narSize: this.#nar.bytesWritten,
      totalSize: this.#totalSize,
      entries: this.#entries,
    }
  }

  /** Puts the chunks that are held, and this one behind them. */
  #putChunks(...last: HashedLeaf[]): void {
    const chunks = [...(this.#held.length > 0 ? leafHasher.take(this) : []), ...last]
    this.#held = []
    for (const { bytes, digest, checksums } of chunks) this.#writer.put(digest, bytes, checksums)
    // Which may put a node: only now that no chunk lies where it goes.
    for (const { bytes, digest } of chunks) {
      const cid = rawCid(digest)
      this.#leaves.push({ cid, start: 0, length: bytes.length })
      this.#narDag.leaf(cid, bytes.length)
    }
  }

  #put(block: Buffer): Buffer {
    const digest = sha256(block)
    this.#writer.put(digest, block)
    return digest
  }

  #add(entry: BuiltEntry): void {
    const parent = this.#stack[this.#stack.length - 1]
    if (parent === undefined) this.#root = entry
    else parent.entries.push(entry)
  }
}
