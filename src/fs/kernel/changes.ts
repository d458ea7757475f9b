import { write } from 'node:fs'
import { DamagedError } from '../../errors.ts'
import { type IndexReader, type NodeId, ROOT_NODE } from '../../index/types.ts'
import type { Logger } from '../../log.ts'
import { invalidateEntry, invalidateInode } from '../protocol/notify.ts'

export interface RootChangesOptions {
  /** /dev/fuse, mounted. */
  fd: number
  index: IndexReader
  log: Logger
  /** Mount points of overlays that have this mount among their lower layers. */
  overlays(): string[]
  /** The kernel knows nothing yet. Otherwise it may know everything that was ever forgotten. */
  fresh: boolean
}

/**
 * Tells the kernel what other processes have added to the root of the mount and removed from it; everything below is
 * for ever. The kernel takes the root's lock for it, which a request may hold that waits for an answer: so it is told
 * in the threads of libuv's pool, which answer no requests, one notification at a time.
 *
 * Below an overlay the kernel is not told that a name is gone: an overlay that has looked it up would answer ESTALE to
 * everybody from then on, also when the path has come back.
 */
export class RootChanges {
  readonly #options: RootChangesOptions
  #seen = -1
  /** First node ids of what is gone and the kernel was told to drop, or never knew. */
  #dropped = new Set<NodeId>()
  /** To be dropped once more at the next look: an answer that was on its way may have reached the kernel after us. */
  readonly #late: string[] = []
  #last: Promise<void> = Promise.resolve()

  constructor(options: RootChangesOptions) {
    this.#options = options
    if (!options.fresh) return
    this.#seen = options.index.generation()
    try {
      for (const { firstNode } of this.#gone()) this.#dropped.add(firstNode)
    } catch (error) {
      // Then the kernel is told of names that it has never seen.
      if (!(error instanceof DamagedError)) throw error
    }
  }

  /**
   * Looks for changes since the last look; cheap where there are none. Resolves when the kernel was told of them. Throws
   * DamagedError where it cannot be known what is gone; what has come is shown all the same.
   */
  look(): Promise<void> {
    this.#drop(this.#late.splice(0), false)
    const generation = this.#options.index.generation()
    if (generation !== this.#seen) this.#tell(generation, this.#seen < 0)
    return this.#last
  }

  #tell(generation: number, takenOver: boolean): void {
    // Between two looks a path may have come and gone again, and the kernel may have seen it.
    const before = generation === this.#seen + 1 ? this.#dropped : new Set<NodeId>()
    this.#seen = generation
    this.#dropped = new Set()
    this.#notify(invalidateInode(ROOT_NODE), 'the list of paths')
    const names: string[] = []
    for (const { baseName, firstNode } of this.#gone()) {
      this.#dropped.add(firstNode)
      if (!before.has(firstNode)) names.push(baseName)
    }
    this.#late.push(...this.#drop(names, takenOver))
  }

  /** What was forgotten and not added again as it was. */
  *#gone(): Generator<{ baseName: string; firstNode: NodeId }> {
    const { index } = this.#options
    for (const path of index.forgotten()) {
      if (index.path(path.baseName)?.firstNode !== path.firstNode) yield path
    }
  }

  /** Gives the names that the kernel was told of. `takenOver`: the server before us has spoken of them. */
  #drop(baseNames: string[], takenOver: boolean): string[] {
    if (baseNames.length === 0) return []
    const { log, overlays } = this.#options
    const [overlay] = overlays()
    if (overlay !== undefined) {
      const names = baseNames.length === 1 ? baseNames[0] : `${baseNames.length} paths`
      const line = `${names}: forgotten below the overlay on ${overlay}, which may show it till it is mounted again`
      if (takenOver) log.debug(line)
      else log.warn(line)
      return []
    }
    for (const name of baseNames) this.#notify(invalidateEntry(ROOT_NODE, Buffer.from(name)), name)
    return baseNames
  }

  #notify(message: Buffer, what: string): void {
    const { fd, log } = this.#options
    this.#last = this.#last.then(
      () =>
        new Promise(resolve => {
          write(fd, message, error => {
            // ENOENT: the kernel does not know it, which is what was wanted. ENODEV, ENOTCONN: there is no mount left.
            if (error !== null && !['ENOENT', 'ENODEV', 'ENOTCONN'].includes(error.code ?? ''))
              log.warn(`${what}: the kernel may still show what was there before (${error.code})`)
            resolve()
          })
        }),
    )
  }
}
