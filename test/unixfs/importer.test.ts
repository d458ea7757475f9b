import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ImportCandidate, importer } from 'ipfs-unixfs-importer'
import type { CID } from 'multiformats/cid'
import { cidText } from '../../src/cid.ts'
import { randomTree, specToSink, type TreeSpec } from '../helpers/random-tree.ts'
import { build, bytesOf } from './support.ts'

/** The CID that the JavaScript importer gives a directory. It keeps names as text, so they must be UTF-8. */
async function importedCid(tree: TreeSpec): Promise<string> {
  const blockstore = { put: async (cid: CID) => cid }
  let last = ''
  const options = { profile: 'unixfs-v1-2025' } as const
  for await (const { cid } of importer(candidates(tree, 'root'), blockstore, options)) last = cid.toString()
  return last
}

function* candidates(node: TreeSpec, path: string): Generator<ImportCandidate> {
  if (node.kind === 'file') {
    yield { path, content: [node.contents] }
  } else if (node.kind === 'symlink') {
    yield { path, link: node.target.toString('utf8') }
  } else {
    yield { path }
    for (const { name, node: child } of node.entries) yield* candidates(child, `${path}/${name.toString('utf8')}`)
  }
}

const file = (contents: Buffer): TreeSpec => ({ kind: 'file', executable: false, contents })

function directory(...entries: [name: string, node: TreeSpec][]): TreeSpec {
  const children = entries.map(([name, node]) => ({ name: Buffer.from(name), node }))
  return { kind: 'directory', entries: children.sort((a, b) => Buffer.compare(a.name, b.name)) }
}

const cases: [what: string, tree: TreeSpec][] = [
  ['an empty folder', directory()],
  ['an empty file', directory(['empty', file(Buffer.alloc(0))])],
  [
    'files about 1 MiB',
    directory(...[-1, 0, 1].map((more): [string, TreeSpec] => [`${more}`, file(bytesOf(more, 1024 * 1024 + more))])),
  ],
  [
    'names beyond ASCII',
    directory(
      ...['é', 'z', '\u{1F600}', '\uFFFD', 'Ω', '日本', '.hidden'].map((name): [string, TreeSpec] => [
        name,
        file(Buffer.from(name)),
      ]),
    ),
  ],
  [
    'symlinks',
    directory(
      ['long', { kind: 'symlink', target: Buffer.from('é'.repeat(300)) }],
      ['short', { kind: 'symlink', target: Buffer.from('x') }],
    ),
  ],
  [
    'a sharded folder',
    directory(
      ...Array.from({ length: 3000 }, (_, i): [string, TreeSpec] => [
        `some-file-with-a-long-name-that-fills-the-node-${i}`,
        file(Buffer.from(`${i % 9}`)),
      ]),
    ),
  ],
  ...Array.from({ length: 10 }, (_, seed): [string, TreeSpec] => [
    `random tree ${seed}`,
    randomTree(seed, { executables: false, weirdNames: false, symlinks: false }),
  ]),
]

for (const [what, tree] of cases) {
  test(`${what}: the CID of ipfs-unixfs-importer`, async () => {
    assert.equal(cidText(build(sink => specToSink(tree, sink)).root), await importedCid(tree))
  })
}
