import { join } from 'node:path'
import { LmdbIndex } from '../src/index/lmdb.ts'
import { addPaths, baseNameOf, directory, file, type Tree } from '../test/helpers/index-trees.ts'

/** Paths of one commit: such transactions stay short, and few are needed. */
const BATCH = 500

/**
 * Adds small trees to the index of a state that exists, without contents, which would be most of the work; their base
 * names.
 */
export async function addManyPaths(state: string, seed: string, count: number): Promise<string[]> {
  const index = LmdbIndex.open(join(state, 'index'))
  const names = Array.from({ length: count }, (_, i) => baseNameOf(`${seed} ${i}`, `package-${i}`))
  try {
    for (let at = 0; at < count; at += BATCH) {
      addPaths(
        index,
        names.slice(at, at + BATCH).map(name => [name, packageTree(name)]),
      )
    }
    await index.flushed()
  } finally {
    await index.close()
  }
  return names
}

/** As a small package: seven nodes. */
function packageTree(name: string): Tree {
  return directory({
    bin: directory({ tool: { kind: 'file', size: 20_000, seed: name, executable: true } }),
    lib: directory({ 'lib.so': { kind: 'symlink', target: 'lib.so.1' }, 'lib.so.1': file(50_000, name) }),
    'README.md': file(1000, name),
  })
}
