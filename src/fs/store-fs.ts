import { statfsSync } from 'node:fs'
import { bytesToText } from '../bytes.ts'
import { cidText } from '../cid.ts'
import { type NodeEntry, type NodeId, ROOT_NODE } from '../index/types.ts'
import { fullPath, isBaseName } from '../nix/store-path.ts'
import { cidOfNode, type Miss, type StoreReader } from '../store/reader.ts'
import type { Attributes, FsUsage, ListedEntry, ReadOnlyFs } from './types.ts'

/** Nix makes this folder in every store it opens and expects it in a lower store; it is answered and not listed. */
const LINKS_NAME = '.links'
const LINKS_NODE = 2 as NodeId

/**
 * The store as a filesystem: its root lists the paths that the index knows, below them are the trees. Names at the
 * root that are no store paths do not exist. Every read is of what is committed: other processes' commits count from
 * the index's next refresh on.
 */
export class StoreFs implements ReadOnlyFs {
  readonly #store: StoreReader
  readonly #folder: string

  /** `folder` is where the blocks are, for statfs. */
  constructor(store: StoreReader, folder: string) {
    this.#store = store
    this.#folder = folder
  }

  lookup(directory: NodeId, name: Uint8Array): NodeEntry | undefined {
    if (directory === LINKS_NODE) return undefined
    if (directory !== ROOT_NODE) return this.#store.index.lookup(directory, name)
    const baseName = bytesToText(name)
    if (baseName === LINKS_NAME) return { name: Buffer.from(LINKS_NAME), id: LINKS_NODE, ...emptyDirectory }
    const record = isBaseName(baseName) ? this.#store.index.path(baseName) : undefined
    return record === undefined ? undefined : this.#store.rootEntry(record)
  }

  attributes(id: NodeId): Attributes | undefined {
    if (id === ROOT_NODE || id === LINKS_NODE) return { id, ...emptyDirectory }
    const node = this.#store.index.node(id)
    switch (node?.kind) {
      case undefined:
        return undefined
      case 'file':
        return { id, kind: 'file', executable: node.executable, size: node.size }
      case 'symlink':
        return { id, kind: 'symlink', executable: false, size: node.target.length }
      case 'directory':
        return { id, ...emptyDirectory }
    }
  }

  readlink(id: NodeId): Buffer | undefined {
    const node = this.#store.index.node(id)
    return node?.kind === 'symlink' ? node.target : undefined
  }

  list(directory: NodeId, cookie: number): Iterable<ListedEntry> | undefined {
    if (directory === ROOT_NODE) return this.#listRoot(cookie)
    if (directory === LINKS_NODE) return []
    return this.#store.index.isDirectory(directory) ? this.#listDirectory(directory, cookie) : undefined
  }

  /** A path's cookie is its first node id: paths added while a listing runs come after it, and seekdir stays exact. */
  *#listRoot(cookie: number): Generator<ListedEntry> {
    for (const record of this.#store.index.pathsAfter(cookie as NodeId)) {
      yield { entry: this.#store.rootEntry(record), cookie: record.firstNode }
    }
  }

  *#listDirectory(directory: NodeId, cookie: number): Generator<ListedEntry> {
    let next = cookie
    for (const entry of this.#store.index.entries(directory, cookie)) yield { entry, cookie: ++next }
  }

  read(id: NodeId, offset: number, length: number, target: Buffer, at: number): number | Miss | undefined {
    const node = this.#store.index.node(id)
    return node?.kind === 'file' ? this.#store.read(node, offset, length, target, at) : undefined
  }

  cid(id: NodeId): string | undefined {
    const node = id === ROOT_NODE || id === LINKS_NODE ? undefined : this.#store.index.node(id)
    return node === undefined ? undefined : cidText(cidOfNode(node))
  }

  usage(): FsUsage {
    const { bsize, blocks, bfree, bavail } = statfsSync(this.#folder)
    return { blockSize: bsize, blocks, free: bfree, available: bavail }
  }

  describe(id: NodeId): string {
    if (id === ROOT_NODE) return 'the mount'
    const record = this.#store.index.pathOfNode(id)
    if (record === undefined) return `node ${id}`
    let path = fullPath(record.baseName)
    let at = this.#store.rootEntry(record)
    // Ids are given in the order of a walk: a node lies in the last entry whose id does not exceed its own.
    while (at.id !== id && at.kind === 'directory') {
      let holding: NodeEntry | undefined
      for (const entry of this.#store.index.entries(at.id, 0)) {
        if (entry.id > id) break
        holding = entry
      }
      if (holding === undefined) break
      at = holding
      path += `/${bytesToText(at.name)}`
    }
    return path
  }
}

const emptyDirectory = { kind: 'directory', executable: false, size: 0 } as const
