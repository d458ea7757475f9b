import { asBuffer } from '../../bytes.ts'
import { type NodeEntry, type NodeId, ROOT_NODE } from '../../index/types.ts'
import type { ReadOnlyFs } from '../types.ts'

const MAX_CACHED_PATHS = 8192

/** Thrown where fuse-native cannot tell which of a folder's names is meant. */
export class UnreadableNameError extends Error {}

/**
 * Turns libfuse's paths into nodes, with a bounded cache of what was found. fuse-native hands paths over as
 * JavaScript strings, so a name that is not UTF-8 arrives with U+FFFD in the place of its bytes: such names are
 * listed, but cannot be opened through this driver.
 */
export class PathWalk {
  readonly #fs: ReadOnlyFs
  readonly #cache = new Map<string, NodeEntry>()

  constructor(fs: ReadOnlyFs) {
    this.#fs = fs
  }

  /** The node at an absolute path, or undefined. Throws UnreadableNameError. */
  find(path: string): NodeEntry | undefined {
    if (path === '/') return root
    const cached = this.#cache.get(path)
    if (cached !== undefined) return cached
    const slash = path.lastIndexOf('/')
    const parent = this.find(slash === 0 ? '/' : path.slice(0, slash))
    if (parent?.kind !== 'directory') return undefined
    const name = path.slice(slash + 1)
    if (name.includes('\ufffd')) this.#refuseUnreadable(parent.id, name)
    const entry = this.#fs.lookup(parent.id, Buffer.from(name, 'utf8'))
    if (entry === undefined) return undefined
    if (this.#cache.size >= MAX_CACHED_PATHS) this.#cache.delete(this.#cache.keys().next().value!)
    this.#cache.set(path, entry)
    return entry
  }

  #refuseUnreadable(directory: NodeId, name: string): void {
    for (const { entry } of this.#fs.list(directory, 0) ?? []) {
      if (asBuffer(entry.name).toString('utf8') === name) {
        throw new UnreadableNameError('its name is not UTF-8, which the libfuse driver cannot pass on')
      }
    }
  }

  clear(): void {
    this.#cache.clear()
  }
}

const root: NodeEntry = { name: Buffer.alloc(0), id: ROOT_NODE, kind: 'directory', executable: false, size: 0 }
