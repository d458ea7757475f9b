import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openStore, type Store } from '../../src/cli/compose.ts'
import { readConfig } from '../../src/cli/config.ts'
import { Counters, type counter } from '../../src/fs/counters.ts'
import { Dispatcher } from '../../src/fs/protocol/dispatcher.ts'
import { RequestView } from '../../src/fs/protocol/request.ts'
import { StoreFs } from '../../src/fs/store-fs.ts'
import type { ReadOnlyFs } from '../../src/fs/types.ts'
import type { NodeEntry, NodeId, PathRecord } from '../../src/index/types.ts'
import { Miss, type StoreReader } from '../../src/store/reader.ts'
import { onCleanup, type TestScope } from './cleanup.ts'
import { checkReply, decodeReply, isAnswered, type Reply } from './kernel-replies.ts'
import { type TreeSpec, writeTree } from './random-tree.ts'
import { tempFolder } from './temp.ts'

/**
 * A state with these trees, by name: each is added as the store path that `add` would make of it.
 * @param blocks the block store, the state's own if not given
 */
export async function storeWith(t: TestScope, trees: Record<string, TreeSpec>, blocks?: string): Promise<Store> {
  const work = tempFolder(t, 'served')
  mkdirSync(join(work, 'trees'))
  const store = openStore(readConfig({ state: join(work, 'state'), blocks }, {}))
  onCleanup(t, () => store.close())
  const ingest = store.ingest({ pin: false })
  try {
    for (const [name, tree] of Object.entries(trees)) {
      const path = join(work, 'trees', name)
      writeTree(tree, path)
      await ingest.addFolder(path, name)
    }
    await ingest.commit()
  } finally {
    await ingest.close()
  }
  store.index.refresh()
  return store
}

/** The path that the tree of this name became. */
export function pathNamed({ index }: Store, name: string): PathRecord {
  const found = [...index.paths()].find(({ baseName }) => baseName.slice(33) === name)
  assert.ok(found !== undefined, `no path is called ${name}`)
  return found
}

/** The node at these names below the path. */
export function nodeAt(store: Store, name: string, ...below: (string | Uint8Array)[]): NodeEntry {
  const record = pathNamed(store, name)
  const entry = store.reader.descend(
    record,
    below.map(part => Buffer.from(part as string)),
  )
  assert.ok(entry !== undefined, `${name} has no ${below.join('/')}`)
  return entry
}

export interface ServingOptions {
  xattr?: boolean
  /** In the place of the store's own reader. */
  reader?: StoreReader
  /** In the place of the filesystem over the reader. */
  fs?: ReadOnlyFs
}

/** A dispatcher over a store, as a thread of a server has it, and the kernel that asks it. */
export class Serving {
  readonly dispatcher: Dispatcher
  readonly counters = Counters.create(1)
  /** What was answered with EIO. */
  readonly failures: string[] = []

  constructor({ reader, state }: Store, options: ServingOptions = {}) {
    this.dispatcher = new Dispatcher({
      fs: options.fs ?? new StoreFs(options.reader ?? reader, state.folder),
      xattr: options.xattr ?? false,
      counters: this.counters.row(0),
      failed: (what, error) => this.failures.push(`${what}: ${(error as Error).message}`),
    })
  }

  count(place: (typeof counter)[keyof typeof counter]): number {
    return this.counters.sum(place)
  }

  /**
   * The answer to a request; undefined where there is none. Fails where the kernel would not take it, and where there
   * is one that nobody waits for, or none that somebody waits for.
   */
  answer(request: Buffer): Reply | Miss | undefined {
    // As a thread has it: requests lie in one buffer, whose end is older.
    const view = new RequestView(Buffer.concat([request, older]))
    // And replies lie where older ones were, of which nothing must be left.
    this.dispatcher.output.fill(0xaa, 0, older.length)
    const length = this.dispatcher.answer(view, request.length)
    if (length instanceof Miss) return length
    assert.equal(length > 0, isAnswered(request), 'an answer is given where one is waited for')
    if (length === 0) return undefined
    const reply = decodeReply(Buffer.from(this.dispatcher.output.subarray(0, length)))
    checkReply(request, reply)
    return reply
  }

  /** The error of the answer, 0 where it is none; undefined where there is no answer. */
  error(request: Buffer): number | undefined {
    const answer = this.answer(request)
    assert.ok(!(answer instanceof Miss), 'nothing is missing')
    return answer?.error
  }

  /** As {@link answer}, of a request that is answered and whose answer is here. */
  reply(request: Buffer): Reply {
    const answer = this.answer(request)
    assert.ok(answer !== undefined && !(answer instanceof Miss), 'a reply')
    return answer
  }

  /** The body of a reply that is no error. */
  body(request: Buffer): Buffer {
    const { error, body } = this.reply(request)
    assert.equal(error, 0)
    return body
  }
}

const older = Buffer.alloc(64 * 1024, 'older bytes \0')

export const UNKNOWN_NODE = 12345 as NodeId
