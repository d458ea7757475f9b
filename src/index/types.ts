import type { BlockLocations, BlockRow } from '../blocks/types.ts'
import type { CidBytes } from '../cid.ts'
import type { NodeKind } from '../nix/tree.ts'
import type { NodeSink } from '../unixfs/types.ts'

/**
 * A node's number: what FUSE calls nodeid and stat shows as inode. Permanent, one per place, never used for anything
 * else: epoch (20 bits, not 0) x 2^33 + counter, so it always fits a double. The mount's root is 1.
 */
export type NodeId = number & { readonly brand: 'NodeId' }

export const ROOT_NODE = 1 as NodeId

/** Node ids of one epoch. */
export const COUNTERS = 2 ** 33

/** Why a path may appear in the mount; evidence only ever raises it, in this order. */
export const trustLevels = ['unsigned', 'upload', 'binding', 'nar', 'local', 'content'] as const
export type Trust = (typeof trustLevels)[number]

/** What is known of one store path. */
export interface PathRecord {
  /** `<hash part>-<name>`. */
  baseName: string
  /** CID of the tree. */
  root: CidBytes
  kind: NodeKind
  executable: boolean
  /** What stat says of the root: bytes of a file, length of a link's target, 0 for a directory. */
  size: number
  /** CID of the NAR DAG; undefined for a foreign tree. */
  nar: CidBytes | undefined
  /** sha2-256 of the NAR, 32 bytes. */
  narHash: Uint8Array
  narSize: number
  /** Base names, sorted bytewise, itself included where it refers to itself. */
  references: readonly string[]
  /** Base name. */
  deriver: string | undefined
  /** As Nix writes it: `fixed:r:sha256:<nix32>`, `text:sha256:<nix32>`, ... */
  ca: string | undefined
  /** `<key name>:<base64>`, sorted. */
  signatures: readonly string[]
  /** Unix time, seconds. */
  registrationTime: number
  trust: Trust
  /** Sum of the sizes of its regular files. */
  totalSize: number
  /** Number of nodes, the root included. They have the ids firstNode, firstNode + 1, ... */
  entries: number
  firstNode: NodeId
}

/** What a node is, by its id alone. */
export type NodeRecord =
  | { kind: 'file'; executable: boolean; size: number; cid: CidBytes }
  | { kind: 'symlink'; target: Buffer }
  | { kind: 'directory'; cid: CidBytes; entries: number }

/** An entry of a directory with what a stat of it needs. */
export interface NodeEntry {
  name: Buffer
  id: NodeId
  kind: NodeKind
  executable: boolean
  size: number
}

/** A slice of a file: `length` bytes, which start at `start` in block `cid` and at `offset` in the file. */
export interface LeafSlice {
  offset: number
  length: number
  cid: CidBytes
  start: number
}

/** The read side, all synchronous. Values are verified by their checksums; a damaged one throws DamagedError. */
export interface IndexReader extends BlockLocations {
  path(baseName: string): PathRecord | undefined
  /** The path whose base name starts with these 32 characters. */
  pathByHashPart(hashPart: string): PathRecord | undefined
  /** All paths by base name. */
  paths(): Iterable<PathRecord>
  /** Paths in the order of their first node ids, from the one after `after` on: a listing of the mount's root. */
  pathsAfter(after: NodeId): Iterable<PathRecord>
  /** The path that the node belongs to. */
  pathOfNode(id: NodeId): PathRecord | undefined
  node(id: NodeId): NodeRecord | undefined
  /** Costs nothing that {@link entries} would not cost. */
  isDirectory(id: NodeId): boolean
  lookup(directory: NodeId, name: Uint8Array): NodeEntry | undefined
  /** Entries in bytewise order, from ordinal `from` (0 for the first) on. */
  entries(directory: NodeId, from: number): Iterable<NodeEntry>
  /** The slices of the file's leaves that cover [offset, offset + length), in order; fewer where the file ends. */
  leaves(file: CidBytes, fileSize: number, offset: number, length: number): LeafSlice[]
  /** Every block that is known, with its place. */
  blocks(): Iterable<BlockRow>
  /** Paths that were forgotten or replaced, with the first node ids that they had: one for each base name. */
  forgotten(): Iterable<{ baseName: string; firstNode: NodeId }>
  /** The id that the next new node gets. It rises for ever, unless somebody puts an older index in place. */
  nextNode(): NodeId
  pathCount(): number
  /** True where another file lies in the place of the one that is open: somebody has put another index there. */
  isReplaced(): boolean
  /** Changes with every commit that adds or removes a path. Sees other processes' commits after {@link refresh}. */
  generation(): number
  /** Lets the next read see what other processes have committed. */
  refresh(): void
}

/** Collects a tree's nodes while it is built, by their numbers within the tree; belongs to one path. */
export interface NodeRun extends NodeSink {
  /** Nodes told so far. */
  readonly entries: number
}

export interface Pin {
  baseName: string
  /** Several pins of one path differ by name. */
  name: string
  /** Unix time in seconds; undefined for ever. */
  expires: number | undefined
}

/** What makes one path visible. */
export interface PathCommit {
  record: PathRecord
  nodes: NodeRun
  pin: Omit<Pin, 'baseName'> | undefined
}

/** Which program holds a pack, so that gc leaves the packs of the living alone. */
export interface PackOwner {
  pid: number
  /** Field 22 of /proc/<pid>/stat: clock ticks after boot. */
  startTime: string
  /** /proc/sys/kernel/random/boot_id */
  bootId: string
}

/**
 * The write side. Each call is one or more LMDB transactions of at most 50 ms, because the write lock is shared by all
 * processes. Nothing that a crash leaves behind is visible: a path exists from the moment its record is committed.
 */
export interface IndexWriter {
  /** The 20 random bits of this state's node ids. */
  readonly epoch: number
  newNodes(): NodeRun
  /** A pack number that was never used before, entered with its owner. */
  allocatePack(owner: PackOwner): number
  /**
   * First node ids for trees of `entries` nodes each: a contiguous run, or the run that the same tree (base name and
   * narHash) had before it was forgotten.
   */
  assignNodes(trees: readonly { baseName: string; narHash: Uint8Array; entries: number }[]): NodeId[]
  /** Enters blocks that are durable in the packs. */
  commitBlocks(rows: readonly BlockRow[]): void
  /** Takes blocks out. Whoever is adding a path that reuses one of them is refused. */
  removeBlocks(multihashes: Iterable<Uint8Array>): void
  /**
   * Makes paths visible, all or none. `reused` holds the multihashes (34 bytes each, sha2-256) that were not written
   * because the index knew them: they are looked for again in the last transaction, and RefusedError is thrown if a
   * gc took one. A path that another process added meanwhile is `known` if its narHash is the same; another narHash,
   * or another name for the same hash part, is a RefusedError (the first accepted record wins).
   */
  commitPaths(commits: readonly PathCommit[], reused: Buffer): ('added' | 'known')[]
  /** Removes a path and its pins, and remembers its node ids. False where it is not known. */
  forget(baseName: string): boolean
  pin(pin: Pin): void
  unpin(baseName: string, name: string): boolean
  pins(baseName?: string): Iterable<Pin>
  /** Resolves when everything committed so far has reached the disk. */
  flushed(): Promise<void>
  close(): Promise<void>
}

export interface StoreIndex extends IndexReader, IndexWriter {
  /** The bytes of a path's record as packs keep a copy of it: base name and record, versioned. */
  encodePath(record: PathRecord): Buffer
}
