import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { NarWriter } from '../../src/nix/nar-writer.ts'
import { EMPTY_NAME, MAX_DEPTH, type TreeSink } from '../../src/nix/tree.ts'
import { randomTree, specToSink, type TreeSpec, writeTree } from '../helpers/random-tree.ts'
import { run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { walkTree } from '../helpers/walk-tree.ts'
import { dumpByNix, formatErrorOf, narBytes, narOf } from './support.ts'

const name = (text: string) => Buffer.from(text)

describe('the NAR of a tree is, bit for bit, that of nix-store --dump', () => {
  const trees: [what: string, tree: TreeSpec][] = [
    ['an empty directory', { kind: 'directory', entries: [] }],
    ['an empty file', { kind: 'file', executable: false, contents: Buffer.alloc(0) }],
    ['an empty executable file', { kind: 'file', executable: true, contents: Buffer.alloc(0) }],
    ['a file', { kind: 'file', executable: false, contents: Buffer.from('hello\n') }],
    ['a file of whole words', { kind: 'file', executable: true, contents: Buffer.alloc(64, 1) }],
    ['a symlink', { kind: 'symlink', target: Buffer.from('../else where') }],
    ['a deep directory', deepTree(300)],
    [
      'names that sort as no text does',
      withNames('a', 'a.', 'a-b', 'ab', 'B', 'é', '\u{1f980}', '\uff5e', '~', '\xff'),
    ],
    ...Array.from({ length: 10 }, (_, seed): [string, TreeSpec] => [`random tree ${seed}`, randomTree(seed)]),
    ['a random tree of plain names', randomTree(77, { weirdNames: false, entries: 400, maxFileBytes: 200_000 })],
  ]
  for (const [what, tree] of trees) {
    test(what, async t => {
      const path = join(tempFolder(t, 'nar'), 'tree')
      writeTree(tree, path)
      const expected = await dumpByNix(path)
      assert.ok(narOf(sink => specToSink(tree, sink)).equals(expected), 'from memory')
      assert.ok(narOf(sink => walkTree(path, sink)).equals(expected), 'from disk')
    })
  }
})

test('nix-store --restore unpacks it to the same tree', async t => {
  const folder = tempFolder(t, 'nar')
  const tree = randomTree(4711, { entries: 100 })
  const nar = narOf(sink => specToSink(tree, sink))
  mkdirSync(join(folder, 'x'))
  const restored = await run('nix-store', ['--restore', join(folder, 'x', 'tree')], { input: nar })
  assert.equal(restored.code, 0, restored.stderr)
  assert.ok(narOf(sink => walkTree(join(folder, 'x', 'tree'), sink)).equals(nar))
})

test('contents are passed on as they are, framing is handed out once between them', () => {
  const calls: [kind: 'framing' | 'contents', bytes: Buffer, sizeSoFar: number][] = []
  const writer: NarWriter = new NarWriter({
    framing: bytes => calls.push(['framing', Buffer.from(bytes), writer.bytesWritten]),
    contents: bytes => calls.push(['contents', bytes as Buffer, writer.bytesWritten]),
  })
  const first = Buffer.from('12345')
  const second = Buffer.from('678')
  writer.directory(EMPTY_NAME)
  writer.file(name('empty'), true, 0)
  writer.contents(Buffer.alloc(0))
  writer.endFile()
  assert.equal(calls.length, 0)
  writer.file(name('file'), false, 8)
  assert.equal(calls.length, 1, 'the framing is out before contents are prepared')
  writer.contents(first)
  writer.contents(Buffer.alloc(0))
  writer.contents(second)
  writer.endFile()
  writer.symlink(name('link'), name('file'))
  writer.endDirectory()
  writer.finish()

  assert.deepEqual(
    calls.map(([kind]) => kind),
    ['framing', 'contents', 'contents', 'framing'],
  )
  assert.equal(calls[1]![1], first)
  assert.equal(calls[2]![1], second)
  assert.deepEqual(
    Buffer.concat(calls.map(([, bytes]) => bytes)),
    narBytes(
      ...['nix-archive-1', '(', 'type', 'directory'],
      ...['entry', '(', 'name', 'empty', 'node', '(', 'type', 'regular', 'executable', '', 'contents', '', ')', ')'],
      ...['entry', '(', 'name', 'file', 'node', '(', 'type', 'regular', 'contents', '12345678', ')', ')'],
      ...['entry', '(', 'name', 'link', 'node', '(', 'type', 'symlink', 'target', 'file', ')', ')', ')'],
    ),
  )
  let total = 0
  for (const [, bytes, sizeSoFar] of calls) {
    total += bytes.length
    assert.equal(sizeSoFar, total)
  }
})

test('a tree without contents is handed out in pieces, in constant memory', () => {
  let largest = 0
  let pieces = 0
  const writer = new NarWriter({
    framing: bytes => {
      largest = Math.max(largest, bytes.length)
      pieces++
    },
    contents: () => assert.fail('an empty file has no contents'),
  })
  writer.directory(EMPTY_NAME)
  for (let i = 0; i < 2000; i++) {
    writer.file(name(`f${String(i).padStart(5, '0')}`), false, 0)
    writer.endFile()
  }
  for (let i = 0; i < 20; i++) writer.symlink(Buffer.alloc(255, 0x80 + i), Buffer.alloc(4095, 1))
  writer.endDirectory()
  writer.finish()
  assert.ok(largest <= 16 * 1024 && pieces > 10, `${pieces} pieces, the largest of ${largest} bytes`)
})

test('a root that is a file of over 4 GiB has its whole size in the framing', () => {
  const framing: Buffer[] = []
  const writer = new NarWriter({ framing: bytes => framing.push(Buffer.from(bytes)), contents: () => {} })
  const size = 5 * 1024 ** 3 + 3
  writer.file(EMPTY_NAME, false, size)
  const chunk = Buffer.alloc(256 * 1024 * 1024)
  for (let left = size; left > 0; left -= chunk.length) writer.contents(chunk.subarray(0, Math.min(left, chunk.length)))
  writer.endFile()
  writer.finish()
  assert.equal(framing[0]!.readBigUInt64LE(framing[0]!.length - 8), BigInt(size))
  assert.deepEqual(framing[1], narBytes(Buffer.alloc(5), ')'))
  assert.equal(writer.bytesWritten, framing[0]!.length + size + framing[1]!.length)
})

describe('what is no tree is refused, and the message says where', () => {
  const inLib = (tell: (sink: TreeSink) => void) => (sink: TreeSink) => {
    sink.directory(EMPTY_NAME)
    sink.directory(name('lib'))
    tell(sink)
    sink.endDirectory()
    sink.endDirectory()
  }
  const file = (sink: TreeSink, text: string, size = 0) => sink.file(name(text), false, size)
  const cases: [what: string, tell: (sink: TreeSink) => void, message: RegExp][] = [
    ['nothing at all', () => {}, /at the root: the tree ends before it is complete/],
    ['a directory left open', sink => sink.directory(EMPTY_NAME), /before it is complete/],
    ['a file left open', sink => sink.file(EMPTY_NAME, false, 0), /before it is complete/],
    ['a root with a name', sink => sink.directory(name('a')), /the root of a tree has no name/],
    [
      'two roots',
      sink => {
        sink.symlink(EMPTY_NAME, name('a'))
        sink.symlink(EMPTY_NAME, name('a'))
      },
      /a second root/,
    ],
    [
      'an entry after the end',
      sink => {
        sink.directory(EMPTY_NAME)
        sink.endDirectory()
        sink.symlink(name('a'), name('b'))
      },
      /a second root/,
    ],
    [
      'a directory ended twice',
      sink => {
        sink.directory(EMPTY_NAME)
        sink.endDirectory()
        sink.endDirectory()
      },
      /not the innermost/,
    ],
    [
      'a directory ended in a file',
      inLib(sink => {
        file(sink, 'a')
        sink.endDirectory()
      }),
      /at "lib\/a": a directory ends/,
    ],
    [
      'an entry in a file',
      inLib(sink => {
        file(sink, 'a')
        file(sink, 'b')
      }),
      /at "lib\/a": an entry comes before the file has ended/,
    ],
    ['contents without a file', inLib(sink => sink.contents(name('x'))), /at "lib": contents come outside of a file/],
    ['an end without a file', inLib(sink => sink.endFile()), /at "lib": a file ends that was not begun/],
    [
      'a file too long',
      inLib(sink => {
        file(sink, 'a', 3)
        sink.contents(name('1234'))
      }),
      /at "lib\/a": the file is longer than the 3 bytes/,
    ],
    [
      'a file too short',
      inLib(sink => {
        file(sink, 'a', 3)
        sink.contents(name('12'))
        sink.endFile()
      }),
      /at "lib\/a": the file ends 1 bytes before the 3/,
    ],
    ['a size that is none', inLib(sink => file(sink, 'a', -1)), /-1 is no size/],
    ['a size that is not exact', inLib(sink => file(sink, 'a', 2 ** 53)), /9007199254740992 is no size/],
    [
      'names that are not sorted',
      inLib(sink => {
        sink.symlink(name('b'), name('x'))
        sink.symlink(name('a'), name('x'))
      }),
      /at "lib": the name "a" is not sorted: it comes after "b"/,
    ],
    [
      'a name before its prefix',
      inLib(sink => {
        sink.symlink(name('ab'), name('x'))
        sink.symlink(name('a'), name('x'))
      }),
      /"a" is not sorted: it comes after "ab"/,
    ],
    [
      'a name sorted as UTF-16',
      inLib(sink => {
        sink.symlink(name('\u{1f980}'), name('x'))
        sink.symlink(name('\uff5e'), name('x'))
      }),
      /is not sorted/,
    ],
    [
      'a name twice',
      inLib(sink => {
        sink.directory(name('a'))
        sink.endDirectory()
        sink.symlink(name('a'), name('x'))
      }),
      /at "lib": the name "a" comes twice/,
    ],
    ['an empty name', inLib(sink => sink.directory(EMPTY_NAME)), /at "lib": an entry has an empty name/],
    ['the name .', inLib(sink => sink.directory(name('.'))), /the name "\." is not one of an entry/],
    ['the name ..', inLib(sink => sink.directory(name('..'))), /the name "\.\." is not one of an entry/],
    ['a name with a slash', inLib(sink => sink.directory(name('a/b'))), /the name "a\/b" has a slash or a NUL byte/],
    [
      'a name with a NUL byte',
      inLib(sink => sink.directory(name('a\0'))),
      /the name "a\\u0000" has a slash or a NUL byte/,
    ],
    ['a name of 256 bytes', inLib(sink => sink.directory(Buffer.alloc(256, 97))), /name is 256 bytes long, over 255/],
    [
      'an empty target',
      inLib(sink => sink.symlink(name('a'), EMPTY_NAME)),
      /at "lib\/a": a symlink cannot have a target that is empty/,
    ],
    [
      'a target with a NUL byte',
      inLib(sink => sink.symlink(name('a'), name('x\0'))),
      /at "lib\/a": a symlink cannot have/,
    ],
    [
      'a target of 4,096 bytes',
      inLib(sink => sink.symlink(name('a'), Buffer.alloc(4096, 97))),
      /at "lib\/a": the symlink's target is 4096 bytes long, over 4095/,
    ],
    [
      'one directory too deep',
      sink => {
        for (let i = 0; i <= MAX_DEPTH; i++) sink.directory(i === 0 ? EMPTY_NAME : name('d'))
      },
      /nested over 2048 levels/,
    ],
  ]
  for (const [what, tell, message] of cases) {
    test(what, () =>
      assert.match(
        formatErrorOf(() => narOf(tell)),
        message,
      ),
    )
  }
})

test('the longest names and targets and the deepest directory are taken', () => {
  const nar = narOf(sink => {
    for (let i = 0; i < MAX_DEPTH; i++) sink.directory(i === 0 ? EMPTY_NAME : Buffer.alloc(255, 97))
    sink.symlink(Buffer.alloc(255, 98), Buffer.alloc(4095, 97))
    for (let i = 0; i < MAX_DEPTH; i++) sink.endDirectory()
  })
  assert.ok(nar.length > MAX_DEPTH * 255)
})

function deepTree(levels: number): TreeSpec {
  let tree: TreeSpec = { kind: 'file', executable: true, contents: Buffer.from('deep') }
  for (let i = 0; i < levels; i++) tree = { kind: 'directory', entries: [{ name: name('d'), node: tree }] }
  return tree
}

/** A directory of empty files; a name that is one latin1 character is that byte. */
function withNames(...names: string[]): TreeSpec {
  const entries = names
    .map(text => (text === '\xff' ? Buffer.from([0xff]) : name(text)))
    .sort(Buffer.compare)
    .map(name => ({ name, node: { kind: 'file', executable: false, contents: Buffer.alloc(0) } as const }))
  return { kind: 'directory', entries }
}
