import { write } from 'node:fs'
import { type IndexReader, type NodeId, ROOT_NODE } from '../../index/types.ts'
import type { Logger } from '../../log.ts'
import { invalidateEntry, invalidateInode } from '../protocol/notify.ts'

/**
 * Tells the kernel what other processes have added to the root of the mount and removed from it; everything below is
 * for ever. The kernel takes the root's lock for it, which a request may hold that waits for an answer: so it is told
 * in the threads of libuv's pool, which answer no requests, one notification at a time.
 */
export class RootChanges {
  readonly #fd: number
  readonly #index: IndexReader
  readonly #log: Logger
  #seen = -1
  /** First node ids of what is gone and the kernel was told to drop, or never knew. */
  #dropped = new Set<NodeId>()
  /** To be dropped once more at the next look: an answer that was on its way may have reached the kernel after us. */
  readonly #late: string[] = []
  #last: Promise<void> = Promise.resolve()

  /** `fresh`: the kernel knows nothing yet. Otherwise it may know everything that was ever forgotten. */
  constructor(fd: number, index: IndexReader, log: Logger, { fresh }: { fresh: boolean }) {
    this.#fd = fd
    this.#index = index
    this.#log = log
    if (!fresh) return
    this.#seen = index.generation()
    for (const { firstNode } of this.#gone()) this.#dropped.add(firstNode)
  }

  /** Looks for changes since the last look; cheap where there are none. Resolves when the kernel was told of them. */
  look(): Promise<void> {
    const late = this.#late.splice(0)
    for (const name of late) this.#drop(name)
    const generation = this.#index.generation()
    if (generation !== this.#seen) this.#tell(generation)
    return this.#last
  }

  #tell(generation: number): void {
    // Between two looks a path may have come and gone again, and the kernel may have seen it.
    const before = generation === this.#seen + 1 ? this.#dropped : new Set<NodeId>()
    this.#seen = generation
    this.#dropped = new Set()
    for (const { baseName, firstNode } of this.#gone()) {
      this.#dropped.add(firstNode)
      if (before.has(firstNode)) continue
      this.#drop(baseName)
      this.#late.push(baseName)
    }
    this.#notify(invalidateInode(ROOT_NODE), 'the list of paths')
  }

  /** What was forgotten and not added again as it was. */
  *#gone(): Generator<{ baseName: string; firstNode: NodeId }> {
    for (const path of this.#index.forgotten()) {
      if (this.#index.path(path.baseName)?.firstNode !== path.firstNode) yield path
    }
  }

  #drop(baseName: string): void {
    this.#notify(invalidateEntry(ROOT_NODE, Buffer.from(baseName)), baseName)
  }

  #notify(message: Buffer, what: string): void {
    this.#last = this.#last.then(
      () =>
        new Promise(resolve => {
          write(this.#fd, message, error => {
            // ENOENT: the kernel does not know it, which is what was wanted. ENODEV, ENOTCONN: there is no mount left.
            if (error !== null && !['ENOENT', 'ENODEV', 'ENOTCONN'].includes(error.code ?? ''))
              this.#log.warn(`${what}: the kernel may still show what was there before (${error.code})`)
            resolve()
          })
        }),
    )
  }
}
