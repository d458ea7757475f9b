import type { NodeEntry, NodeRecord, PathRecord } from '../index/types.ts'
import { NarWriter } from '../nix/nar-writer.ts'
import { EMPTY_NAME } from '../nix/tree.ts'
import type { StoreReader } from './reader.ts'

/** Every node of a path in NAR order, as the index has it; undefined where a directory ends. Throws DamagedError. */
export function* nodesInNarOrder(
  store: StoreReader,
  record: PathRecord,
): Generator<{ name: Uint8Array; node: NodeRecord } | undefined> {
  const root: Pick<NodeEntry, 'id'> & { name: Uint8Array } = { ...store.rootEntry(record), name: EMPTY_NAME }
  const stack: Iterator<typeof root>[] = [[root].values()]
  for (let entries = stack.at(-1); entries !== undefined; entries = stack.at(-1)) {
    const next = entries.next()
    if (next.done === true) {
      stack.pop()
      if (stack.length > 0) yield undefined
      continue
    }
    const { name, id } = next.value
    const node = store.node(id)
    yield { name, node }
    if (node.kind === 'directory') stack.push(store.index.entries(id, 0)[Symbol.iterator]())
  }
}

/**
 * A path's NAR, rendered from the index and the blocks in constant memory. A buffer is valid until the next one.
 * Throws DamagedError and MissingBlockError.
 */
export async function* narChunks(store: StoreReader, record: PathRecord): AsyncGenerator<Buffer> {
  const ready: Buffer[] = []
  const writer = new NarWriter({
    framing: bytes => ready.push(Buffer.from(bytes)),
    contents: bytes => ready.push(bytes as Buffer),
  })
  for (const step of nodesInNarOrder(store, record)) {
    if (step === undefined) writer.endDirectory()
    else if (step.node.kind === 'directory') writer.directory(step.name)
    else if (step.node.kind === 'symlink') writer.symlink(step.name, step.node.target)
    else {
      writer.file(step.name, step.node.executable, step.node.size)
      for await (const bytes of store.contents(step.node)) {
        writer.contents(bytes)
        yield* ready.splice(0)
      }
      writer.endFile()
    }
    yield* ready.splice(0)
  }
  writer.finish()
  yield* ready.splice(0)
}
