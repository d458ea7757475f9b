import assert from 'node:assert/strict'
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs'
import { MemoryBlocks } from '../../src/blocks/memory.ts'
import { checksumsOf, MAX_BLOCK_BYTES } from '../../src/blocks/types.ts'
import { ByteWriter } from '../../src/bytes.ts'
import { type CidBytes, codec, dagPbCid, readCid, sha256 } from '../../src/cid.ts'
import { EMPTY_NAME, type TreeSink } from '../../src/nix/tree.ts'
import { TreeBuilder, type TreeResult } from '../../src/unixfs/builder.ts'
import type { GetBlock } from '../../src/unixfs/get-block.ts'
import { CHUNK_BYTES } from '../../src/unixfs/profile.ts'
import type { ChildEntry, Leaf, NodeSink } from '../../src/unixfs/types.ts'
import { seededRandom } from '../helpers/random-tree.ts'

/** Blocks that hold their callers to the contract: true digests and checksums, sizes within the limit, no use of ended rooms. */
export class StrictBlocks extends MemoryBlocks {
  /** Shared, so that another thread may hash what lies in it. */
  readonly #memory = Buffer.from(new SharedArrayBuffer(7 * CHUNK_BYTES))
  /** Bytes that are reserved, and where the chunks lie that must be put next. */
  #reserved = 0
  #awaited: number[] = []

  override reserve(size: number): Buffer {
    assert.ok(size <= MAX_BLOCK_BYTES)
    assert.deepEqual(this.#awaited, [])
    this.#reserved = size
    return this.#memory.subarray(0, size)
  }

  reserveBehind(held: readonly Buffer[], size: number): Buffer | undefined {
    const at = held.reduce((sum, { length }) => sum + length, 0)
    if (at + size > this.#memory.length) return undefined
    const room = this.#memory.subarray(at, at + size)
    this.#awaited = [...held, room].map(({ byteOffset }) => byteOffset)
    this.#reserved = at + size
    return room
  }

  override put(digest: Uint8Array, bytes: Uint8Array, checksums?: Uint32Array): void {
    assert.deepEqual(sha256(bytes), Buffer.from(digest))
    if (checksums !== undefined) assert.deepEqual(checksums, checksumsOf(bytes))
    assert.ok(bytes.length <= MAX_BLOCK_BYTES)
    super.put(digest, bytes)
    // A put ends a reservation, but for those of chunks that come one behind the other: what is still kept is lost.
    if (this.#awaited.length > 0) assert.equal(bytes.byteOffset, this.#awaited.shift())
    if (this.#awaited.length === 0) this.#memory.fill(0xee, 0, this.#reserved)
    else bytes.fill(0xee)
  }

  /** Puts a dag-pb node that a test has encoded itself. */
  putNode(bytes: Uint8Array): Buffer {
    const digest = sha256(bytes)
    this.put(digest, bytes)
    return dagPbCid(digest)
  }
}

export function getFrom(blocks: MemoryBlocks): GetBlock {
  return cid => blocks.get(readCid(cid)!.multihash)
}

/** What a {@link NodeSink} was told. */
export type Told =
  | { kind: 'file'; id: number; executable: boolean; size: number; cid: string; leaves: Leaf[] | undefined }
  | { kind: 'symlink'; id: number; target: string }
  | { kind: 'directory'; id: number; cid: string; entries: ChildEntry[] }

export class RecordingNodes implements NodeSink {
  readonly told: Told[] = []

  file(id: number, executable: boolean, size: number, cid: CidBytes, leaves: readonly Leaf[] | undefined): void {
    this.told.push({ kind: 'file', id, executable, size, cid: hex(cid), leaves: leaves && [...leaves] })
  }

  symlink(id: number, target: Uint8Array): void {
    this.told.push({ kind: 'symlink', id, target: Buffer.from(target).toString('latin1') })
  }

  directory(id: number, cid: CidBytes, entries: readonly ChildEntry[]): void {
    this.told.push({ kind: 'directory', id, cid: hex(cid), entries: [...entries] })
  }
}

export interface Built extends TreeResult {
  blocks: StrictBlocks
  get: GetBlock
  told: Told[]
}

/** Builds the tree that `produce` tells. */
export function build(produce: (sink: TreeBuilder) => void): Built {
  const blocks = new StrictBlocks()
  const nodes = new RecordingNodes()
  const builder = new TreeBuilder({ writer: blocks, nodes })
  produce(builder)
  return { ...builder.finish(), blocks, get: getFrom(blocks), told: nodes.told }
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** Tells a file of these contents. */
export function tellFile(sink: TreeSink, name: Uint8Array | string, contents: Uint8Array, executable = false): void {
  sink.file(Buffer.from(name), executable, contents.length)
  if (contents.length > 0) sink.contents(contents)
  sink.endFile()
}

/** Tells what lies at a path, contents through {@link TreeBuilder.space}. */
export function tellFolder(sink: TreeBuilder, path: Buffer | string, name: Uint8Array = EMPTY_NAME): void {
  const stat = lstatSync(path)
  if (stat.isSymbolicLink()) {
    sink.symlink(name, readlinkSync(path, { encoding: 'buffer' }))
  } else if (stat.isDirectory()) {
    sink.directory(name)
    for (const child of readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare)) {
      tellFolder(sink, Buffer.concat([Buffer.from(path), Buffer.from('/'), child]), child)
    }
    sink.endDirectory()
  } else {
    sink.file(name, (stat.mode & 0o100) !== 0, stat.size)
    const file = openSync(path, 'r')
    for (let room = sink.space(); room.length > 0; room = sink.space()) sink.filled(readSync(file, room))
    closeSync(file)
    sink.endFile()
  }
}

/** A CARv1 of all blocks, with one root. https://ipld.io/specs/transport/car/carv1/ */
export function carOf(blocks: MemoryBlocks, root: CidBytes): Buffer {
  const out = new ByteWriter(1 << 20)
  const header = Buffer.concat([
    // dag-cbor: {"roots": [42(h'00' + root)], "version": 1}
    Buffer.from('a265726f6f747381d82a58', 'hex'),
    Buffer.from([root.length + 1, 0]),
    root,
    Buffer.from('6776657273696f6e01', 'hex'),
  ])
  out.sized(header)
  for (const [multihash, block] of blocks.entries()) {
    // Kubo looks blocks up by multihash, so the codec only has to parse.
    const cid = Buffer.concat([Buffer.from([1, codec.raw]), multihash])
    out
      .varint(cid.length + block.length)
      .bytes(cid)
      .bytes(block)
  }
  return out.finish()
}

/** The blocks of a CARv1, whose CIDs are all sha2-256. */
export function blocksOf(car: Buffer): MemoryBlocks {
  const blocks = new MemoryBlocks()
  let at = 0
  const varint = () => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = car[at++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
  }
  const header = varint()
  at += header
  while (at < car.length) {
    const length = varint()
    const cid = car[at] === 0x12 ? 34 : 36
    blocks.put(car.subarray(at + cid - 32, at + cid), car.subarray(at + cid, at + length))
    at += length
  }
  return blocks
}

/** `length` bytes that differ with the seed. */
export function bytesOf(seed: number, length: number): Buffer {
  const next = seededRandom(seed)
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = next() * 256
  return bytes
}
