import type { CidBytes } from '../cid.ts'
import type { NodeKind } from '../nix/tree.ts'

/** One entry of a directory, with what a stat of it needs. */
export interface ChildEntry {
  /** 1 to 255 bytes, without `/` and NUL, neither `.` nor `..`. */
  name: Uint8Array
  kind: NodeKind
  /** Always false but for regular files. */
  executable: boolean
  /** Bytes of a file, length of a symlink's target, 0 for a directory. */
  size: number
  /** Number within the tree, in NAR order (pre-order); the root is 0. */
  id: number
  cid: CidBytes
}

/** One leaf of a file: `length` bytes of the file lie in block `cid` from byte `start` on. */
export interface Leaf {
  cid: CidBytes
  /** Offset within the block; 0 for a raw leaf. */
  start: number
  length: number
}

/**
 * Takes a tree's metadata while it is built, so that one pass over the bytes fills blocks and index. A directory is
 * told after everything in it; ids are the pre-order numbers.
 */
export interface NodeSink {
  /** `leaves` is given unless `cid` is itself the only leaf (a raw block). */
  file(id: number, executable: boolean, size: number, cid: CidBytes, leaves: readonly Leaf[] | undefined): void
  symlink(id: number, target: Uint8Array): void
  /** `entries` are sorted bytewise by name. */
  directory(id: number, cid: CidBytes, entries: readonly ChildEntry[]): void
}
