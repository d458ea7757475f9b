import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import { rawCid, readCid, sha256 } from '../../src/cid.ts'
import { FormatError } from '../../src/errors.ts'
import { EMPTY_NAME } from '../../src/nix/tree.ts'
import { TreeBuilder } from '../../src/unixfs/builder.ts'
import { CHUNK_BYTES } from '../../src/unixfs/profile.ts'
import { build, bytesOf, hex, RecordingNodes, StrictBlocks, tellFile } from './support.ts'

const EMPTY_FILE = hex(rawCid(sha256(Buffer.alloc(0))))

test('nodes are told in the order they are complete, with numbers in NAR order', () => {
  const built = build(sink => {
    sink.directory(EMPTY_NAME)
    tellFile(sink, 'a', Buffer.from('contents'))
    sink.directory(Buffer.from('b'))
    sink.symlink(Buffer.from('x'), Buffer.from('../a'))
    sink.directory(Buffer.from('y'))
    sink.endDirectory()
    sink.endDirectory()
    tellFile(sink, 'c', Buffer.from('program'), true)
    sink.endDirectory()
  })
  assert.deepEqual(
    built.told.map(({ kind, id }) => [kind, id]),
    [
      ['file', 1],
      ['symlink', 3],
      ['directory', 4],
      ['directory', 2],
      ['file', 5],
      ['directory', 0],
    ],
  )
  const root = built.told.at(-1)
  assert.ok(root?.kind === 'directory')
  assert.deepEqual(
    root.entries.map(({ name, kind, executable, size, id }) => [String(name), kind, executable, size, id]),
    [
      ['a', 'file', false, 8, 1],
      ['b', 'directory', false, 0, 2],
      ['c', 'file', true, 7, 5],
    ],
  )
  const inner = built.told[3]
  assert.ok(inner?.kind === 'directory')
  assert.deepEqual(
    inner.entries.map(({ name, kind, size, id }) => [String(name), kind, size, id]),
    [
      ['x', 'symlink', 4, 3],
      ['y', 'directory', 0, 4],
    ],
  )
  assert.equal(hex(root.entries[1]!.cid), inner.cid)
  assert.deepEqual(built.told[1], { kind: 'symlink', id: 3, target: '../a' })
  const { kind, executable, size, totalSize, entries } = built
  assert.deepEqual(
    { kind, executable, size, totalSize, entries },
    {
      kind: 'directory',
      executable: false,
      size: 0,
      totalSize: 15,
      entries: 6,
    },
  )
  assert.equal(hex(built.root), root.cid)
})

test('a file is given a leaf table unless it is its own leaf', () => {
  const sizes = [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
  for (const executable of [false, true]) {
    for (const size of sizes) {
      const contents = bytesOf(size, size)
      const built = build(sink => tellFile(sink, EMPTY_NAME, contents, executable))
      const told = built.told[0]
      assert.ok(told?.kind === 'file')
      assert.deepEqual([told.executable, told.size, told.cid], [executable, size, hex(built.root)])
      assert.deepEqual([built.kind, built.executable, built.size, built.totalSize], ['file', executable, size, size])
      if (!executable && size <= CHUNK_BYTES) {
        assert.equal(told.leaves, undefined)
        assert.equal(told.cid, hex(rawCid(sha256(contents))))
        assert.ok(built.blocks.has(readCid(built.root)!.multihash))
        continue
      }
      assert.equal(told.leaves?.length, Math.ceil(size / CHUNK_BYTES))
      const read = told.leaves.map(({ cid, start, length }) => {
        assert.equal(start, 0)
        const block = built.blocks.get(readCid(cid)!.multihash)!
        assert.equal(block.length, length)
        return block
      })
      assert.ok(Buffer.concat(read).equals(contents))
    }
  }
})

test('an empty file is the empty raw block, an empty executable a node of its own', () => {
  const plain = build(sink => tellFile(sink, EMPTY_NAME, Buffer.alloc(0)))
  assert.equal(hex(plain.root), EMPTY_FILE)
  assert.deepEqual(plain.blocks.get(readCid(plain.root)!.multihash), Buffer.alloc(0))
  const program = build(sink => tellFile(sink, EMPTY_NAME, Buffer.alloc(0), true))
  assert.equal(hex(program.blocks.get(readCid(program.root)!.multihash)!), '0a070802180038ed02')
  const told = program.told[0]
  assert.ok(told?.kind === 'file')
  assert.deepEqual(told.leaves, [])
})

test('contents may come in pieces of any size, copied or filled in', () => {
  const contents = bytesOf(7, 2 * CHUNK_BYTES + 12_345)
  const whole = build(sink => tellFile(sink, EMPTY_NAME, contents))
  const steps = fc.array(fc.record({ length: fc.integer({ min: 1, max: 700_000 }), copied: fc.boolean() }), {
    minLength: 1,
    maxLength: 30,
  })
  fc.assert(
    fc.property(steps, steps => {
      const built = build(sink => {
        sink.file(EMPTY_NAME, false, contents.length)
        for (let at = 0, i = 0; at < contents.length; i++) {
          const { length, copied } = steps[i % steps.length]!
          const piece = contents.subarray(at, at + length)
          if (copied) {
            sink.contents(piece)
            at += piece.length
          } else {
            at += piece.copy(sink.space(), 0, 0, Math.min(piece.length, sink.space().length))
            sink.filled(Math.min(piece.length, sink.space().length))
          }
        }
        sink.endFile()
      })
      assert.deepEqual(built.root, whole.root)
      assert.deepEqual(built.nar, whole.nar)
      assert.deepEqual(built.narHash, whole.narHash)
    }),
    { seed: 20260406, numRuns: 15 },
  )
})

test('space is the rest of the chunk, or of the file', () => {
  const blocks = new StrictBlocks()
  const builder = new TreeBuilder({ writer: blocks, nodes: new RecordingNodes() })
  assert.equal(builder.space().length, 0)
  builder.file(EMPTY_NAME, false, CHUNK_BYTES + 10)
  assert.equal(builder.space().length, CHUNK_BYTES)
  builder.filled(CHUNK_BYTES - 3)
  assert.equal(builder.space().length, 3)
  assert.throws(() => builder.filled(4), RangeError)
  builder.filled(0)
  builder.contents(Buffer.from('123'))
  assert.equal(builder.space().length, 10)
  builder.filled(10)
  assert.equal(builder.space().length, 0)
  builder.endFile()
  assert.equal(builder.finish().size, CHUNK_BYTES + 10)
})

/** Tells a large file, chunk by chunk, and lets a thread that hashes come up meanwhile. */
async function* tellLarge(builder: TreeBuilder, chunks: number, seed: number): AsyncGenerator<void> {
  const contents = bytesOf(seed, CHUNK_BYTES)
  builder.file(EMPTY_NAME, false, chunks * CHUNK_BYTES)
  for (let chunk = 0; chunk < chunks; chunk++) {
    contents.writeUInt32LE(chunk)
    builder.contents(contents)
    yield await setTimeout(1)
  }
  builder.endFile()
}

test('large files that are built at the same time, and one that is given up, do not mix', async () => {
  const make = () => new TreeBuilder({ writer: new StrictBlocks(), nodes: new RecordingNodes() })
  const alone = []
  for (const seed of [1, 2]) {
    const builder = make()
    for await (const _ of tellLarge(builder, 40, seed));
    alone.push(builder.finish())
  }
  const given = make()
  const abandoned = tellLarge(given, 40, 3)
  for (let chunk = 0; chunk < 30; chunk++) await abandoned.next()
  const builders = [make(), make()]
  const told = builders.map((builder, i) => tellLarge(builder, 40, i + 1))
  for (let chunk = 0; chunk <= 40; chunk++) {
    if (chunk === 20) given.abandon()
    for (const one of told) await one.next()
  }
  assert.deepEqual(
    builders.map(builder => builder.finish()),
    alone,
  )
})

test('events that are no tree are format errors', () => {
  const bad: [what: string, tell: (sink: TreeBuilder) => void][] = [
    ['nothing', () => {}],
    ['an open directory', sink => sink.directory(EMPTY_NAME)],
    [
      'a file with too few bytes',
      sink => {
        sink.file(EMPTY_NAME, false, 5)
        sink.contents(Buffer.from('1234'))
        sink.endFile()
      },
    ],
    [
      'a file with too many bytes',
      sink => {
        sink.file(EMPTY_NAME, false, 5)
        sink.contents(Buffer.from('123456'))
      },
    ],
    ['contents of no file', sink => sink.contents(Buffer.from('1'))],
    [
      'names out of order',
      sink => {
        sink.directory(EMPTY_NAME)
        tellFile(sink, 'b', Buffer.alloc(0))
        tellFile(sink, 'a', Buffer.alloc(0))
      },
    ],
    [
      'two roots',
      sink => {
        tellFile(sink, EMPTY_NAME, Buffer.alloc(0))
        tellFile(sink, EMPTY_NAME, Buffer.alloc(0))
      },
    ],
    ['an end too many', sink => sink.endDirectory()],
  ]
  for (const [what, tell] of bad) assert.throws(() => build(tell), FormatError, what)
})

test('what the caller reuses is not kept', () => {
  const name = Buffer.from('name')
  const target = Buffer.from('target')
  const built = build(sink => {
    sink.directory(EMPTY_NAME)
    sink.symlink(name, target)
    name.write('next')
    target.fill(0x78)
    sink.directory(name)
    name.fill(0x78)
    sink.endDirectory()
    sink.endDirectory()
  })
  const fresh = build(sink => {
    sink.directory(EMPTY_NAME)
    sink.symlink(Buffer.from('name'), Buffer.from('target'))
    sink.directory(Buffer.from('next'))
    sink.endDirectory()
    sink.endDirectory()
  })
  assert.deepEqual(built.root, fresh.root)
  assert.deepEqual(built.narHash, fresh.narHash)
})

test('a file of many leaves and many files put no block into an open reservation', () => {
  // The NAR DAG fills a node every 1024 links; StrictBlocks spoils what a put leaves reserved.
  const built = build(sink => {
    sink.directory(EMPTY_NAME)
    for (let i = 0; i < 2000; i++) {
      const contents = bytesOf(i, 1 + (i % 200))
      sink.file(Buffer.from(String(i).padStart(5, '0')), false, contents.length)
      for (const byte of contents) {
        sink.space()[0] = byte
        sink.filled(1)
      }
      sink.endFile()
    }
    sink.endDirectory()
  })
  const root = built.told.at(-1)
  assert.ok(root?.kind === 'directory')
  for (const [i, entry] of root.entries.entries()) {
    assert.equal(hex(entry.cid), hex(rawCid(sha256(bytesOf(i, 1 + (i % 200))))))
  }
})
