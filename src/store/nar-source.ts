import type { NodeEntry, PathRecord } from '../index/types.ts'
import { NarWriter } from '../nix/nar-writer.ts'
import { EMPTY_NAME } from '../nix/tree.ts'
import type { StoreReader } from './reader.ts'

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
  const stack: Iterator<NodeEntry>[] = []

  async function* visit(entry: NodeEntry, name: Uint8Array): AsyncGenerator<Buffer> {
    const node = store.node(entry.id)
    switch (node.kind) {
      case 'directory':
        writer.directory(name)
        stack.push(store.index.entries(entry.id, 0)[Symbol.iterator]())
        return
      case 'symlink':
        writer.symlink(name, node.target)
        return
      case 'file':
        writer.file(name, node.executable, node.size)
        for await (const bytes of store.contents(node)) {
          writer.contents(bytes)
          yield* ready.splice(0)
        }
        writer.endFile()
    }
  }

  yield* visit(store.rootEntry(record), EMPTY_NAME)
  for (let entries = stack.at(-1); entries !== undefined; entries = stack.at(-1)) {
    const next = entries.next()
    if (next.done === true) {
      stack.pop()
      writer.endDirectory()
    } else {
      yield* visit(next.value, next.value.name)
    }
    yield* ready.splice(0)
  }
  writer.finish()
  yield* ready.splice(0)
}
