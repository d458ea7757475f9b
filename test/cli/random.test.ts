import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { randomTree, type TreeSpec, writeTree } from '../helpers/random-tree.ts'
import { output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { addOne, done, infoOne, type LsEntry, listing, newState, shownBytes } from './support.ts'

// Random trees: what goes in comes out, and nothing else. The seeds are fixed; a failure names its own.

const LARGEST = 3 * 1024 * 1024

for (const seed of [1, 2, 3, 4]) {
  test(`random tree ${seed}: the NAR is that of nix-store --dump, the listing that of the tree`, async t => {
    const state = newState(t)
    // Every other one has files of several chunks.
    const tree = randomTree(seed, seed % 2 ? { entries: 150 } : { entries: 40, maxFileBytes: LARGEST })
    const folder = join(tempFolder(t), 'tree')
    writeTree(tree, folder)
    const nodes = [...nodesBelow(tree)]

    const added = await addOne(state, [folder])
    const dump = await output('nix-store', ['--dump', folder])
    assert.ok((await done(['nar', '--state', state, added.path])).equals(dump))
    assert.equal(added.narSize, dump.length)
    const fromNar = await addOne(newState(t), ['--nar', '-', '--name', 'tree'], { input: dump })
    assert.deepEqual(fromNar, added)

    const entries = await listing(state, ['-R', added.path])
    assert.deepEqual(
      entries.map(({ cid, ...entry }) => entry),
      nodes.map(({ names, node }) => listed(names, node)),
    )
    for (const { cid } of entries) assert.match(cid, /^baf(kr|yb)ei[a-z2-7]{52}$/)

    const info = await infoOne(state, added.path)
    const size = nodes.reduce((sum, { node }) => sum + (node.kind === 'file' ? node.contents.length : 0), 0)
    assert.deepEqual([info.entries, info.size, info.local], [nodes.length + 1, size, size])
  })
}

/** Every node below a folder with the names that lead to it, in NAR order. */
function* nodesBelow(node: TreeSpec, names: Buffer[] = []): Generator<{ names: Buffer[]; node: TreeSpec }> {
  if (node.kind !== 'directory') return
  for (const { name, node: child } of node.entries) {
    yield { names: [...names, name], node: child }
    yield* nodesBelow(child, [...names, name])
  }
}

/** The entry that `ls -R --json` must give. */
function listed(names: readonly Buffer[], node: TreeSpec): Omit<LsEntry, 'cid'> {
  const shown = names.map(shownBytes)
  const common = { path: shown.join('/'), name: shown.at(-1)!, executable: false, target: null }
  switch (node.kind) {
    case 'directory':
      return { ...common, type: 'directory', size: 0 }
    case 'file':
      return { ...common, type: 'regular', size: node.contents.length, executable: node.executable }
    case 'symlink':
      return { ...common, type: 'symlink', size: node.target.length, target: shownBytes(node.target) }
  }
}
