import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cidText, identityCid, rawCid, readCid, sha256 } from '../../src/cid.ts'
import { FormatError, MissingBlockError } from '../../src/errors.ts'
import { EMPTY_NAME, MAX_DEPTH, type TreeSink } from '../../src/nix/tree.ts'
import { TreeBuilder } from '../../src/unixfs/builder.ts'
import { encodeDirectoryNode, encodeFileNode, encodeSymlinkNode } from '../../src/unixfs/node.ts'
import { emitTree, loadTreeNode } from '../../src/unixfs/tree-reader.ts'
import { randomTree, specToSink } from '../helpers/random-tree.ts'
import { type Built, build, bytesOf, getFrom, RecordingNodes, StrictBlocks, tellFile } from './support.ts'

/** Tells the tree of these blocks to a new builder. */
function rebuild(built: Pick<Built, 'get' | 'root'>) {
  return build(sink => emitTree(built.get, built.root, sink))
}

test('a tree read back from its blocks is the same tree', () => {
  for (let seed = 0; seed < 100; seed++) {
    const root = (['directory', 'directory', 'directory', 'file', 'symlink'] as const)[seed % 5]!
    const tree = randomTree(seed, { root, maxFileBytes: seed % 10 === 3 ? 2_500_000 : 5000 })
    const built = build(sink => specToSink(tree, sink))
    const again = rebuild(built)
    assert.deepEqual(again.narHash, built.narHash, `seed ${seed}`)
    assert.deepEqual(again.root, built.root)
    assert.deepEqual(again.nar, built.nar)
    assert.deepEqual(again.told, built.told)
  }
})

test('a sharded directory is read in NAR order', () => {
  const built = build(sink => {
    sink.directory(EMPTY_NAME)
    for (let i = 0; i < 6000; i++)
      tellFile(sink, `file ${String(i).padStart(6, '0')}`, Buffer.from(`${i}`), i % 2 === 0)
    sink.endDirectory()
  })
  const root = loadTreeNode(built.get, built.root)
  assert.ok(root.kind === 'directory' && root.node.data?.type === 'hamt-shard')
  assert.deepEqual(rebuild(built).narHash, built.narHash)
})

test('trees nested as deep as a NAR may be are built and read, deeper ones are refused', () => {
  const nested = (depth: number) => (sink: TreeSink) => {
    for (let i = 0; i < depth; i++) sink.directory(i === 0 ? EMPTY_NAME : Buffer.from('d'))
    for (let i = 0; i < depth; i++) sink.endDirectory()
  }
  const deep = build(nested(MAX_DEPTH))
  assert.deepEqual(rebuild(deep).narHash, deep.narHash)
  const blocks = deep.blocks
  const deeper = blocks.putNode(encodeDirectoryNode([{ cid: deep.root, name: Buffer.from('d'), tsize: 1 }]))
  assert.throws(() => rebuild({ get: deep.get, root: deeper }), FormatError)
})

test('each node is told by its one block', () => {
  const built = build(sink => {
    sink.directory(EMPTY_NAME)
    tellFile(sink, 'program', bytesOf(1, 3_000_000), true)
    sink.endDirectory()
  })
  const told = built.told.find(told => told.kind === 'file')
  assert.ok(told?.kind === 'file')
  const cid = Buffer.from(told.cid, 'hex')
  const only = new StrictBlocks()
  only.put(readCid(cid)!.digest, built.get(cid)!)
  const node = loadTreeNode(getFrom(only), cid)
  assert.ok(node.kind === 'file')
  assert.deepEqual([node.executable, node.size], [true, 3_000_000])
})

test('only the owner may execute decides', () => {
  const leaf = identityCid(Buffer.from('#!'))
  for (const [mode, executable] of [
    [0o555, true],
    [0o100, true],
    [0o744, true],
    [0o655, false],
    [0o011, false],
    [0o444, false],
    [undefined, false],
  ] as const) {
    const blocks = new StrictBlocks()
    const links = [{ cid: leaf, size: 2, tsize: 0 }]
    const root = blocks.putNode(encodeFileNode(mode === undefined ? { links } : { links, mode }))
    const node = loadTreeNode(getFrom(blocks), root)
    assert.ok(node.kind === 'file')
    assert.equal(node.executable, executable, String(mode))
    assert.equal(build(sink => emitTree(getFrom(blocks), root, sink)).executable, executable)
  }
})

test('what Nix cannot have, and leaves that are not as long as said, are format errors', () => {
  const bad: [what: string, make: (blocks: StrictBlocks) => Buffer][] = [
    ['a symlink without target', blocks => blocks.putNode(encodeSymlinkNode(Buffer.alloc(0)))],
    ['a symlink with NUL', blocks => blocks.putNode(encodeSymlinkNode(Buffer.from('a\0b')))],
    ['a long symlink', blocks => blocks.putNode(encodeSymlinkNode(Buffer.alloc(4096, 0x61)))],
    ['metadata', blocks => blocks.putNode(Buffer.from('0a020803', 'hex'))],
    ['no UnixFS', blocks => blocks.putNode(Buffer.alloc(0))],
    ['a malformed node', blocks => blocks.putNode(Buffer.from('0a', 'hex'))],
    [
      'another codec',
      () => Buffer.concat([Buffer.from([1, 0x71]), readCid(rawCid(sha256(Buffer.alloc(0))))!.multihash]),
    ],
    [
      'a name with a slash',
      blocks => {
        const cid = identityCid(Buffer.from('x'))
        return blocks.putNode(encodeDirectoryNode([{ cid, name: Buffer.from('../x'), tsize: 0 }]))
      },
    ],
    ...[4, 6].map((size): [string, (blocks: StrictBlocks) => Buffer] => [
      `a leaf of 5 bytes that should have ${size}`,
      blocks => {
        const cid = identityCid(Buffer.from('12345'))
        return blocks.putNode(encodeFileNode({ links: [{ cid, size, tsize: 0 }] }))
      },
    ]),
  ]
  for (const [what, make] of bad) {
    const blocks = new StrictBlocks()
    const root = make(blocks)
    const sink = new TreeBuilder({ writer: new StrictBlocks(), nodes: new RecordingNodes() })
    assert.throws(() => emitTree(getFrom(blocks), root, sink), FormatError, what)
  }
})

test('any missing block is named', () => {
  const built = build(sink => {
    sink.directory(EMPTY_NAME)
    tellFile(sink, 'a', bytesOf(1, 100), true)
    sink.symlink(Buffer.from('b'), Buffer.from('a'))
    sink.endDirectory()
  })
  const needed = [...built.blocks.entries()].filter(([multihash]) => !readCid(built.nar)!.multihash.equals(multihash))
  assert.equal(needed.length, 4)
  for (const [missing] of needed) {
    let asked = ''
    const get = (cid: Uint8Array) => {
      if (!readCid(cid)!.multihash.equals(missing)) return built.get(cid)
      asked = cidText(cid)
      return undefined
    }
    assert.throws(
      () => rebuild({ get, root: built.root }),
      (error: unknown) => error instanceof MissingBlockError && error.message.includes(asked) && asked !== '',
    )
  }
})
