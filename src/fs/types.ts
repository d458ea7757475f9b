import type { NodeEntry, NodeId } from '../index/types.ts'
import type { Miss } from '../store/reader.ts'

/** What stat says of a node, before modes and times are put to it. */
export type Attributes = Pick<NodeEntry, 'id' | 'kind' | 'executable' | 'size'>

/** An entry of a listing. */
export interface ListedEntry {
  entry: NodeEntry
  /** Given to a later listing, it continues after this entry; permanent, above 0. */
  cookie: number
}

/** Of the filesystem that holds the blocks, in blocks of `blockSize` bytes. */
export interface FsUsage {
  blockSize: number
  blocks: number
  free: number
  available: number
}

/**
 * The read-only operations, by node id, that every driver adapts. All are synchronous: what is not here is a
 * {@link Miss}, to be fetched before the operation is tried again. Absent is `undefined`. They throw only for damage.
 */
export interface ReadOnlyFs {
  lookup(directory: NodeId, name: Uint8Array): NodeEntry | undefined
  attributes(id: NodeId): Attributes | undefined
  readlink(id: NodeId): Buffer | undefined
  /** Entries after `cookie` (0: from the start), without `.` and `..`; undefined where the node is no directory. */
  list(directory: NodeId, cookie: number): Iterable<ListedEntry> | undefined
  /** Reads up to `length` bytes, fewer only at the file's end; undefined where the node is no file. */
  read(id: NodeId, offset: number, length: number, target: Buffer, at: number): number | Miss | undefined
  /** The CID of a node of a store path as text; undefined for what is in none. */
  cid(id: NodeId): string | undefined
  usage(): FsUsage
  /** Where a node lies, for messages. */
  describe(id: NodeId): string
}

/** Why a mount has ended that nobody asked to end. */
export interface Ending {
  why: string
  /** Something went wrong; otherwise somebody has unmounted it. */
  failed: boolean
}

/** A running mount. */
export interface MountedFs {
  /** Resolves when the mount has ended, with the reason if it was not {@link unmount}. */
  readonly ended: Promise<Ending | undefined>
  /** Paths were added or removed by some process: makes the kernel see it. */
  pathsChanged(): void
  /** Ends the mount, also where it is busy. */
  unmount(): Promise<void>
}
