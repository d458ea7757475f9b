import type { BlockLocation, BlockLocations } from '../blocks/types.ts'
import type { CidBytes } from '../cid.ts'

/**
 * A node's number: what FUSE calls nodeid and stat shows as inode. Permanent, one per place, never used for anything
 * else: epoch (20 bits, not 0) x 2^33 + counter, so it always fits a double. The mount's root is 1.
 */
export type NodeId = number & { readonly brand: 'NodeId' }

export const ROOT_NODE = 1 as NodeId

export type NodeKind = 'directory' | 'file' | 'symlink'

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

/** A new block's place, to be entered. */
export interface BlockRow {
  multihash: Uint8Array
  location: BlockLocation
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
  lookup(directory: NodeId, name: Uint8Array): NodeEntry | undefined
  /** Entries in bytewise order, from ordinal `from` (0 for the first) on. */
  entries(directory: NodeId, from: number): Iterable<NodeEntry>
  /** The slices of the file's leaves that cover [offset, offset + length), in order; fewer where the file ends. */
  leaves(file: CidBytes, fileSize: number, offset: number, length: number): LeafSlice[]
  /** Changes with every commit that adds or removes a path. Sees other processes' commits after {@link refresh}. */
  generation(): number
  /** Lets the next read see what other processes have committed. */
  refresh(): void
}
