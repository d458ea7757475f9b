import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { BlockRow } from '../../src/blocks/types.ts'
import { dagPbCid, rawCid, sha256, sha256Multihash } from '../../src/cid.ts'
import { DamagedError, RefusedError, UnknownPathError } from '../../src/errors.ts'
import type { NodeId, PathRecord, StoreIndex } from '../../src/index/types.ts'
import type { Leaf } from '../../src/unixfs/types.ts'
import {
  addPath,
  addPaths,
  baseNameOf,
  directory,
  expectedBelow,
  file,
  listBelow,
  stagePath,
  type Tree,
  tell,
} from '../helpers/index-trees.ts'

/** What every index of a store does; `open` gives a fresh and empty one. */
export function indexSuite(name: string, open: (t: TestContext) => StoreIndex): void {
  test(`${name}: a path is found by name and by hash part, with all that was said of it`, t => {
    const index = open(t)
    const references = Array.from({ length: 300 }, (_, i) => baseNameOf(`reference ${i}`)).sort()
    const extra: Partial<PathRecord> = {
      references,
      deriver: baseNameOf('deriver', 'example.drv'),
      ca: 'fixed:r:sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73',
      signatures: ['a-1:c2ln', 'b-1:c2ln'],
      registrationTime: 1234567,
      totalSize: 2 ** 40,
      narSize: 2 ** 41,
      trust: 'nar',
    }
    const { record } = addPath(index, baseNameOf(1), directory({ a: file(3) }), { record: extra })
    assert.deepEqual(index.path(record.baseName), record)
    assert.deepEqual(index.pathByHashPart(record.baseName.slice(0, 32)), record)
    const bare = { references: [], nar: undefined, trust: 'unsigned' } as const
    const other = addPath(index, baseNameOf(2), { kind: 'file', size: 5, executable: true }, { record: bare }).record
    assert.deepEqual(index.path(other.baseName), other)
    assert.equal(other.kind, 'file')
    assert.equal(other.executable, true)
    assert.deepEqual(index.path(record.baseName), record)
  })

  test(`${name}: what is not there is absent`, t => {
    const index = open(t)
    addPath(index, baseNameOf(1), directory({ a: file() }))
    // U+0161 has the low byte of 'a', and so on: a name may not be cut down to one that is there.
    const alias = String.fromCharCode(...[...baseNameOf(1)].map(character => character.charCodeAt(0) + 0x100))
    for (const absent of [
      alias,
      '',
      'a',
      baseNameOf(2),
      `${baseNameOf(1)}x`,
      baseNameOf(1).slice(0, -1),
      'x'.repeat(5000),
      '\0',
    ]) {
      assert.equal(index.path(absent), undefined)
    }
    for (const absent of ['', baseNameOf(2).slice(0, 32), baseNameOf(1).slice(0, 31), baseNameOf(1), '-'.repeat(32)]) {
      assert.equal(index.pathByHashPart(absent), undefined)
    }
    const far = (index.epoch * 2 ** 33 + 5000) as NodeId
    for (const id of [0, 1, 2, far] as NodeId[]) {
      assert.equal(index.node(id), undefined)
      assert.equal(index.lookup(id, Buffer.from('a')), undefined)
      assert.deepEqual([...index.entries(id, 0)], [])
      assert.equal(index.pathOfNode(id), undefined)
    }
    assert.equal(index.locate(sha256Multihash(sha256(Buffer.from('x')))), undefined)
    assert.equal(index.forget(baseNameOf(2)), false)
    assert.equal(index.unpin(baseNameOf(1), 'nothing'), false)
  })

  test(`${name}: a tree's nodes are where they were told`, t => {
    const index = open(t)
    const tree = directory({
      bin: directory({ run: { kind: 'file', size: 70_000, executable: true }, sh: { kind: 'symlink', target: 'run' } }),
      empty: directory(),
      'with space': file(2 ** 40),
      zero: file(0),
    })
    const { record, told } = addPath(index, baseNameOf(1), tree)
    assert.equal(record.entries, 7)
    assert.deepEqual(listBelow(index, record.firstNode), expectedBelow(told, record.firstNode))
    const bin = index.lookup(record.firstNode, Buffer.from('bin'))!
    assert.equal(bin.id, record.firstNode + 1)
    assert.deepEqual(
      { ...index.lookup(bin.id, Buffer.from('run'))!, name: '' },
      { name: '', id: record.firstNode + 2, kind: 'file', executable: true, size: 70_000 },
    )
    for (const absent of ['', 'bi', 'binn', 'BIN', 'a', 'zzz']) {
      assert.equal(index.lookup(record.firstNode, Buffer.from(absent)), undefined)
    }
    assert.equal(index.lookup((bin.id + 1) as NodeId, Buffer.from('bin')), undefined, 'a file has no entries')
  })

  test(`${name}: paths whose root is a file or a link`, t => {
    const index = open(t)
    for (const tree of [file(7), { kind: 'symlink', target: '../x' } satisfies Tree]) {
      const { record, told } = addPath(index, baseNameOf(tree.kind), tree)
      assert.equal(record.entries, 1)
      assert.deepEqual(listBelow(index, record.firstNode), expectedBelow(told, record.firstNode))
      assert.deepEqual([...index.entries(record.firstNode, 0)], [])
    }
  })

  for (const count of [0, 1, 20_000]) {
    test(`${name}: a directory of ${count} entries, with names of any bytes, from any of them on`, t => {
      const index = open(t)
      const names = anyNames(count)
      const tree: Tree = { kind: 'directory', entries: names.map((name, i) => [name, file(i)]) }
      const { record, told } = addPath(index, baseNameOf(1), tree)
      const expected = told.children.map(({ name, id, size }) => ({
        name: Buffer.from(name),
        id: record.firstNode + id,
        kind: 'file',
        executable: false,
        size,
      }))
      const listed = [...index.entries(record.firstNode, 0)]
      assert.deepEqual(listed, expected)
      for (const entry of expected) assert.deepEqual(index.lookup(record.firstNode, entry.name), entry)
      for (let from = 1; from <= count + 1; from += Math.max(1, count >> 6)) {
        assert.deepEqual([...index.entries(record.firstNode, from)].slice(0, 3), expected.slice(from, from + 3))
      }
      for (const entry of expected) {
        const longer = Buffer.concat([entry.name, Buffer.of(0)])
        assert.equal(index.lookup(record.firstNode, longer), undefined)
      }
    })
  }

  test(`${name}: listings of the root come in the order of node ids, resumed after any of them`, t => {
    const index = open(t)
    const added = addPaths(
      index,
      Array.from({ length: 700 }, (_, i) => [baseNameOf(i), directory({ a: file(i) })] as const),
    )
    const byName = added.map(({ baseName }) => baseName).sort()
    assert.deepEqual(
      [...index.paths()].map(({ baseName }) => baseName),
      byName,
    )
    assert.deepEqual([...index.pathsAfter(0 as NodeId)], added)
    for (const i of [0, 1, 15, 16, 350, 698, 699]) {
      assert.deepEqual([...index.pathsAfter(added[i]!.firstNode)], added.slice(i + 1))
    }
    const listing = index.pathsAfter(0 as NodeId)[Symbol.iterator]()
    assert.equal(listing.next().value!.baseName, added[0]!.baseName)
    for (const { firstNode, baseName } of added) {
      assert.equal(index.pathOfNode(firstNode)!.baseName, baseName)
      assert.equal(index.pathOfNode((firstNode + 1) as NodeId)!.baseName, baseName)
    }
    assert.equal(index.pathOfNode((added.at(-1)!.firstNode + 2) as NodeId), undefined)
  })

  test(`${name}: node ids are runs that do not overlap, of the state's epoch`, t => {
    const index = open(t)
    assert.ok(Number.isInteger(index.epoch) && index.epoch > 0 && index.epoch < 2 ** 20)
    const trees = [1, 1000, 1, 5].map((entries, i) => ({
      baseName: baseNameOf(i),
      narHash: sha256(Buffer.of(i)),
      entries,
    }))
    const ids = [...index.assignNodes(trees), ...index.assignNodes(trees.slice(0, 1))]
    let next = index.epoch * 2 ** 33 + 16
    for (const [i, id] of ids.entries()) {
      assert.equal(id, next)
      next += trees[i % 4]!.entries
    }
    assert.deepEqual(index.assignNodes([]), [])
  })

  test(`${name}: leaf tables of any length, cut to the range that was asked for`, t => {
    const index = open(t)
    const leaves: Leaf[] = []
    for (let i = 0; i < 3000; i++) {
      const digest = sha256(Buffer.from(`${i}`))
      // A leaf may lie within a block, behind what else the block holds.
      leaves.push(
        i % 7 === 0
          ? { cid: dagPbCid(digest), start: 14, length: 1 + (i % 50) }
          : { cid: rawCid(digest), start: 0, length: 1 + (i % 50) },
      )
    }
    const size = leaves.reduce((sum, { length }) => sum + length, 0)
    const { told } = addPath(index, baseNameOf(1), { kind: 'file', size, leaves, executable: true })
    const whole = index.leaves(told.cid, size, 0, size)
    assert.deepEqual(
      whole.map(({ cid, start, length }) => ({ cid: Buffer.from(cid), start, length })),
      leaves,
    )
    for (const [offset, length] of [
      [0, 1],
      [0, 0],
      [size - 1, 1],
      [size - 1, 1000],
      [size, 1],
      [size + 5, 1],
      [17, 40_000],
      [30_000, 1],
      [12_345, 6789],
    ] as const) {
      const expected = whole.flatMap(slice => {
        const from = Math.max(slice.offset, offset)
        const to = Math.min(slice.offset + slice.length, offset + length)
        return from < to
          ? [{ ...slice, offset: from, length: to - from, start: slice.start + from - slice.offset }]
          : []
      })
      assert.deepEqual(index.leaves(told.cid, size, offset, length), expected)
    }
  })

  test(`${name}: a file that is one raw block is its own leaf`, t => {
    const index = open(t)
    const cid = rawCid(sha256(Buffer.from('x')))
    assert.deepEqual(index.leaves(cid, 100, 10, 500), [{ cid, offset: 10, length: 90, start: 10 }])
    assert.deepEqual(index.leaves(cid, 100, 100, 1), [])
    assert.deepEqual(index.leaves(cid, 0, 0, 1), [])
  })

  test(`${name}: a file without its leaf table is damage; an empty one needs none`, t => {
    const index = open(t)
    const cid = dagPbCid(sha256(Buffer.from('x')))
    assert.throws(() => index.leaves(cid, 100, 0, 1), DamagedError)
    const { told } = addPath(index, baseNameOf(1), { kind: 'file', size: 0, leaves: [], executable: true })
    assert.deepEqual(index.leaves(told.cid, 0, 0, 4096), [])
  })

  test(`${name}: a file in two paths has its leaf table also when one of them is forgotten`, t => {
    const index = open(t)
    const shared: Tree = {
      kind: 'file',
      size: 9,
      leaves: [{ cid: rawCid(sha256(Buffer.from('9'))), start: 0, length: 9 }],
    }
    const { told } = addPath(index, baseNameOf(1), shared)
    addPath(index, baseNameOf(2), directory({ a: shared, b: shared }))
    index.forget(baseNameOf(1))
    assert.equal(index.leaves(told.cid, 9, 0, 9).length, 1)
  })

  test(`${name}: blocks are where they were entered, and move when they are entered again`, t => {
    const index = open(t)
    const rows = Array.from({ length: 5000 }, (_, i) => rowOf(i))
    index.commitBlocks(rows)
    for (const { multihash, location } of rows) assert.deepEqual(index.locate(multihash), location)
    const moved = { ...rows[7]!, location: { ...rows[7]!.location, pack: 99 } }
    index.commitBlocks([moved])
    assert.deepEqual(index.locate(moved.multihash), moved.location)
    index.commitBlocks([])
  })

  test(`${name}: pack numbers are never given twice`, t => {
    const index = open(t)
    const owner = { pid: 1, startTime: '2', bootId: '3' }
    assert.deepEqual(
      Array.from({ length: 3 }, () => index.allocatePack(owner)),
      [1, 2, 3],
    )
  })

  test(`${name}: the same path again is known, and nothing of the second remains`, t => {
    const index = open(t)
    const tree = directory({ a: file(1), b: directory({ c: file(2) }) })
    const first = addPath(index, baseNameOf(1), tree)
    assert.equal(first.outcome, 'added')
    const generation = index.generation()
    const second = addPath(index, baseNameOf(1), tree)
    assert.equal(second.outcome, 'known')
    assert.deepEqual(index.path(baseNameOf(1)), first.record)
    assert.equal(index.generation(), generation)
    assert.equal(index.node(second.record.firstNode), undefined)
    assert.deepEqual(listBelow(index, first.record.firstNode), expectedBelow(first.told, first.record.firstNode))
    assert.deepEqual(
      index.commitPaths([{ record: first.record, nodes: runOf(index, tree), pin: undefined }], Buffer.alloc(0)),
      ['known'],
    )
    assert.deepEqual(listBelow(index, first.record.firstNode), expectedBelow(first.told, first.record.firstNode))
  })

  test(`${name}: the first accepted record wins`, t => {
    const index = open(t)
    const first = addPath(index, baseNameOf(1), directory({ a: file(1) }))
    const conflicts: [string, Tree, RegExp][] = [
      [baseNameOf(1), directory({ a: file(2) }), /known with narHash .*, not /],
      [baseNameOf(1, 'other-name'), directory({ a: file(1) }), /hash part is known as that of /],
    ]
    for (const [baseName, tree, message] of conflicts) {
      const { commit } = stagePath(index, baseName, tree, { pin: { name: 'x', expires: undefined } })
      const fresh = stagePath(index, baseNameOf(2), directory({ b: file(5) }))
      assert.throws(
        () => index.commitPaths([fresh.commit, commit], Buffer.alloc(0)),
        (error: Error) => error instanceof RefusedError && message.test(error.message),
      )
      assert.equal(index.path(baseNameOf(2)), undefined, 'all or none')
      assert.equal(index.node(fresh.commit.record.firstNode), undefined)
      assert.equal(index.node(commit.record.firstNode), undefined)
      assert.deepEqual([...index.pins()], [])
    }
    assert.deepEqual([...index.paths()], [first.record])
    index.forget(baseNameOf(1))
    assert.equal(addPath(index, baseNameOf(1), directory({ a: file(2) })).outcome, 'added')
  })

  test(`${name}: several paths become visible together`, t => {
    const index = open(t)
    const generation = index.generation()
    const staged = [1, 2, 3].map(i => stagePath(index, baseNameOf(i), directory({ a: file(i) })).commit)
    assert.deepEqual([...index.paths()], [])
    assert.deepEqual(index.commitPaths(staged, Buffer.alloc(0)), ['added', 'added', 'added'])
    assert.equal([...index.paths()].length, 3)
    assert.notEqual(index.generation(), generation)
    const twice = [stagePath(index, baseNameOf(4), file(1)).commit, stagePath(index, baseNameOf(4), file(1)).commit]
    assert.deepEqual(index.commitPaths(twice, Buffer.alloc(0)), ['added', 'known'])
    assert.notEqual(index.node(twice[0]!.record.firstNode), undefined)
    assert.deepEqual(index.commitPaths([], Buffer.alloc(0)), [])
  })

  test(`${name}: a forgotten path leaves nothing but its ids, which the same tree gets again`, t => {
    const index = open(t)
    const tree: Tree = { kind: 'directory', entries: anyNames(2000).map(name => [name, file(1)]) }
    const first = addPath(index, baseNameOf(1), tree, { pin: { name: 'keep', expires: undefined } })
    addPath(index, baseNameOf(2), directory({ a: file(1) }))
    assert.equal(index.lookup(first.record.firstNode, first.told.children[0]!.name)!.size, 1)
    const generation = index.generation()
    assert.equal(index.forget(baseNameOf(1)), true)
    assert.equal(index.lookup(first.record.firstNode, first.told.children[0]!.name), undefined)
    assert.notEqual(index.generation(), generation)
    assert.equal(index.path(baseNameOf(1)), undefined)
    assert.deepEqual(
      [...index.paths()].map(({ baseName }) => baseName),
      [baseNameOf(2)],
    )
    assert.equal(index.pathOfNode(first.record.firstNode), undefined)
    assert.deepEqual([...index.pins()], [])
    for (const { id } of [first.told, ...first.told.children]) {
      assert.equal(index.node((first.record.firstNode + id) as NodeId), undefined)
    }
    assert.equal(index.lookup(first.record.firstNode, first.told.children[0]!.name), undefined)
    assert.deepEqual([...index.entries(first.record.firstNode, 0)], [])

    const again = addPath(index, baseNameOf(1), tree)
    assert.equal(again.outcome, 'added')
    assert.equal(again.record.firstNode, first.record.firstNode)
    assert.deepEqual(listBelow(index, again.record.firstNode), expectedBelow(again.told, again.record.firstNode))

    index.forget(baseNameOf(1))
    const other = addPath(index, baseNameOf(1), directory({ a: file(3) }))
    assert.ok(other.record.firstNode > again.record.firstNode + again.record.entries, 'another tree gets other ids')
    index.forget(baseNameOf(1))
    assert.equal(addPath(index, baseNameOf(1), directory({ a: file(3) })).record.firstNode, other.record.firstNode)
  })

  test(`${name}: pins by name, with and without an end`, t => {
    const index = open(t)
    addPath(index, baseNameOf(1), file(1), { pin: { name: 'add', expires: undefined } })
    addPath(index, baseNameOf(2), file(1))
    index.pin({ baseName: baseNameOf(2), name: '', expires: 5 })
    index.pin({ baseName: baseNameOf(1), name: 'für immer', expires: 1_900_000_000 })
    const all = [
      { baseName: baseNameOf(1), name: 'add', expires: undefined },
      { baseName: baseNameOf(1), name: 'für immer', expires: 1_900_000_000 },
      { baseName: baseNameOf(2), name: '', expires: 5 },
    ]
    const order = (pins: typeof all) => pins.toSorted((a, b) => (a.baseName + a.name < b.baseName + b.name ? -1 : 1))
    assert.deepEqual(order([...index.pins()] as typeof all), order(all as never))
    assert.deepEqual([...index.pins(baseNameOf(2))], [all[2]])
    index.pin({ baseName: baseNameOf(2), name: '', expires: undefined })
    assert.deepEqual([...index.pins(baseNameOf(2))], [{ ...all[2], expires: undefined }])
    assert.equal(index.unpin(baseNameOf(2), ''), true)
    assert.equal(index.unpin(baseNameOf(2), ''), false)
    assert.deepEqual([...index.pins(baseNameOf(2))], [])
    assert.throws(() => index.pin({ baseName: baseNameOf(3), name: 'x', expires: undefined }), UnknownPathError)
    assert.deepEqual([...index.pins(baseNameOf(1).slice(0, -1))], [])
    addPath(index, baseNameOf(2), file(1), { pin: { name: 'again', expires: undefined } })
    assert.deepEqual([...index.pins(baseNameOf(2))], [{ baseName: baseNameOf(2), name: 'again', expires: undefined }])
  })

  test(`${name}: says which names have gone or changed hands, for who keeps them`, t => {
    const index = open(t)
    const name1 = baseNameOf(1)
    const names = () =>
      [...index.forgotten()].filter(({ baseName, firstNode }) => index.path(baseName)?.firstNode !== firstNode)
    const first = addPath(index, name1, directory({ a: file(3) }), {
      record: { narHash: sha256(Buffer.from('a')) },
    }).record
    assert.equal(index.pathCount(), 1)
    const next = index.nextNode()
    assert.deepEqual(names(), [])
    index.forget(name1)
    assert.deepEqual(names(), [{ baseName: name1, firstNode: first.firstNode }])
    assert.equal(index.pathCount(), 0)
    // The same tree has the same ids, so whoever kept it has kept nothing wrong.
    addPath(index, name1, directory({ a: file(3) }), { record: { narHash: sha256(Buffer.from('a')) } })
    assert.deepEqual(names(), [])
    assert.equal(index.nextNode(), next)
    index.forget(name1)
    addPath(index, name1, directory({ b: file(4) }), { record: { narHash: sha256(Buffer.from('b')) } })
    assert.deepEqual(names(), [{ baseName: name1, firstNode: first.firstNode }])
    assert.ok(index.nextNode() > next)
  })
}

function runOf(index: StoreIndex, tree: Tree) {
  const run = index.newNodes()
  tell(run, tree)
  return run
}

export function rowOf(number: number): BlockRow {
  const length = number % 3 === 0 ? 0 : 65536 * (number % 5) + number
  const checksums = Uint32Array.from({ length: Math.ceil(length / 65536) }, (_, i) => (number * 2654435761 + i) >>> 0)
  const multihash = sha256Multihash(sha256(Buffer.from(`${number}`)))
  return { multihash, location: { pack: 1 + (number % 4), offset: number * 2 ** 30, length, checksums } }
}

/** Distinct names of 1 to 255 bytes, of any bytes but NUL and slash. */
export function anyNames(count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => {
    const length = [4, 8, 20, 255][i % 4]!
    const name = Buffer.alloc(length)
    const digest = sha256(Buffer.from(`${i}`))
    for (let at = 4; at < length; at++) name[at] = digest[at % 32]!
    // The number, so that all differ, in bytes from 128 on.
    for (let at = 0; at < 4; at++) name[at] = 128 + ((i >> (7 * at)) & 127)
    for (let at = 0; at < length; at++) if (name[at] === 0 || name[at] === 0x2f) name[at] = 0xff
    return name
  })
}
