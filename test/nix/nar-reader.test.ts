import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../../src/errors.ts'
import { NarParser, parseNar } from '../../src/nix/nar-reader.ts'
import { EMPTY_NAME, MAX_DEPTH } from '../../src/nix/tree.ts'
import { randomTree, specToSink } from '../helpers/random-tree.ts'
import { run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { anything, dumpByNix, EventLog, formatErrorOf, narBytes, narLength, narOf } from './support.ts'

const seed = 20260801

/** A directory with the executable file `a`, which holds "hi", and the symlink `b` to it. */
const golden = Buffer.from(
  [
    '0d00000000000000 6e69782d61726368 6976652d31000000', //   0 "nix-archive-1"
    '0100000000000000 2800000000000000', //                   24 "("
    '0400000000000000 7479706500000000', //                   40 "type"
    '0900000000000000 6469726563746f72 7900000000000000', //  56 "directory"
    '0500000000000000 656e747279000000', //                   80 "entry"
    '0100000000000000 2800000000000000', //                   96 "("
    '0400000000000000 6e616d6500000000', //                  112 "name"
    '0100000000000000 6100000000000000', //                  128 "a"
    '0400000000000000 6e6f646500000000', //                  144 "node"
    '0100000000000000 2800000000000000', //                  160 "("
    '0400000000000000 7479706500000000', //                  176 "type"
    '0700000000000000 726567756c617200', //                  192 "regular"
    '0a00000000000000 65786563757461626c65000000000000', //  208 "executable"
    '0000000000000000', //                                   232 ""
    '0800000000000000 636f6e74656e7473', //                  240 "contents"
    '0200000000000000 6869000000000000', //                  256 "hi"
    '0100000000000000 2900000000000000', //                  272 ")"
    '0100000000000000 2900000000000000', //                  288 ")"
    '0500000000000000 656e747279000000', //                  304 "entry"
    '0100000000000000 2800000000000000', //                  320 "("
    '0400000000000000 6e616d6500000000', //                  336 "name"
    '0100000000000000 6200000000000000', //                  352 "b"
    '0400000000000000 6e6f646500000000', //                  368 "node"
    '0100000000000000 2800000000000000', //                  384 "("
    '0400000000000000 7479706500000000', //                  400 "type"
    '0700000000000000 73796d6c696e6b00', //                  416 "symlink"
    '0600000000000000 7461726765740000', //                  432 "target"
    '0100000000000000 6100000000000000', //                  448 "a"
    '0100000000000000 2900000000000000', //                  464 ")"
    '0100000000000000 2900000000000000', //                  480 ")"
    '0100000000000000 2900000000000000', //                  496 ")"
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
)

const goldenEvents = [
  { kind: 'directory', name: '' },
  { kind: 'file', name: 'a', executable: true, size: 2 },
  { kind: 'endFile', contents: 'hi' },
  { kind: 'symlink', name: 'b', target: 'a' },
  { kind: 'endDirectory' },
]

/** What the parser tells of these chunks. */
function eventsOf(...chunks: Uint8Array[]) {
  const log = new EventLog()
  const parser = new NarParser(log)
  for (const chunk of chunks) parser.push(chunk)
  parser.end()
  return log.events
}

/** The NAR that the events of a NAR make. */
function rewritten(nar: Uint8Array): Buffer {
  return narOf(sink => parseNar(nar, sink))
}

describe('a NAR by hand', () => {
  test('is one that Nix unpacks and makes', async t => {
    const path = join(tempFolder(t, 'nar'), 'tree')
    const restored = await run('nix-store', ['--restore', path], { input: golden })
    assert.equal(restored.code, 0, restored.stderr)
    assert.deepEqual(await dumpByNix(path), golden)
  })

  test('is told as events', () => {
    assert.deepEqual(eventsOf(golden), goldenEvents)
  })

  test('is told the same in pieces of any size', () => {
    for (let size = 1; size <= golden.length; size++) {
      const chunks = Array.from({ length: Math.ceil(golden.length / size) }, (_, i) =>
        golden.subarray(i * size, (i + 1) * size),
      )
      assert.deepEqual(eventsOf(...chunks), goldenEvents, `pieces of ${size} bytes`)
    }
  })

  test('is refused where it is cut, at any byte', () => {
    for (let length = 0; length < golden.length; length++) {
      const message = formatErrorOf(() => parseNar(golden.subarray(0, length), anything))
      assert.match(message, new RegExp(`at byte ${length}, .*: the NAR ends before it is complete`))
    }
  })

  test('is refused with a byte after its end', () => {
    const message = formatErrorOf(() => parseNar(Buffer.concat([golden, Buffer.alloc(1)]), anything))
    assert.match(message, /at byte 512, in the root: bytes follow the end/)
    const parser = new NarParser(anything)
    parser.push(golden)
    parser.push(Buffer.alloc(0))
    assert.match(
      formatErrorOf(() => parser.push(Buffer.alloc(1))),
      /at byte 512/,
    )
  })

  test('with any byte changed is refused, or is the NAR of another tree', () => {
    let accepted = 0
    for (let at = 0; at < golden.length; at++) {
      for (const change of [0x01, 0x20, 0x80, 0xff]) {
        const changed = Buffer.from(golden)
        changed[at]! ^= change
        if (acceptsExactly(changed)) accepted++
      }
    }
    // The names (as long as they are sorted), the two bytes of contents and the target are free.
    assert.ok(accepted > 10 && accepted < 20, `${accepted} accepted`)
  })
})

/** True if the NAR is taken, and then it must be what the writer makes of it; false if it is refused as it should be. */
function acceptsExactly(nar: Buffer): boolean {
  let again: Buffer
  try {
    again = rewritten(nar)
  } catch (error) {
    assert.ok(error instanceof FormatError, String(error))
    return false
  }
  assert.ok(again.equals(nar), 'what is accepted is written again as it was')
  return true
}

describe('random trees', () => {
  test('come back as they were told', () => {
    for (let number = 0; number < 25; number++) {
      const expected = new EventLog()
      specToSink(randomTree(number), expected)
      const nar = narOf(sink => specToSink(randomTree(number), sink))
      assert.deepEqual(eventsOf(nar), expected.events)
      assert.ok(rewritten(nar).equals(nar))
    }
  })

  test('are told the same however the NAR is cut', () => {
    const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 })
    fc.assert(
      fc.property(fc.nat({ max: 30 }), cuts, (number, cuts) => {
        const nar = narOf(sink => specToSink(randomTree(number, { entries: 25, maxFileBytes: 3000 }), sink))
        const ends = [...cuts.map(cut => Math.floor(cut * nar.length)), nar.length].sort((a, b) => a - b)
        const chunks = ends.map((end, i) => nar.subarray(ends[i - 1] ?? 0, end))
        assert.deepEqual(eventsOf(...chunks), eventsOf(nar))
      }),
      { seed, numRuns: 150 },
    )
  })

  test('with bits flipped are refused, or are the NARs of other trees', () => {
    const flips = fc.array(fc.tuple(fc.double({ min: 0, max: 0.999, noNaN: true }), fc.nat({ max: 7 })), {
      minLength: 1,
      maxLength: 3,
    })
    let accepted = 0
    fc.assert(
      fc.property(fc.nat({ max: 50 }), flips, (number, flips) => {
        const nar = narOf(sink => specToSink(randomTree(number, { entries: 12, maxFileBytes: 2000 }), sink))
        for (const [at, bit] of flips) nar[Math.floor(at * nar.length)]! ^= 1 << bit
        if (acceptsExactly(nar)) accepted++
      }),
      { seed, numRuns: 2000 },
    )
    assert.ok(accepted > 50, `only ${accepted} accepted: the property says little`)
  })

  test('with pieces taken out, doubled or moved are refused, or are the NARs of other trees', () => {
    const place = fc.nat({ max: 200 })
    fc.assert(
      fc.property(fc.nat({ max: 50 }), place, place, place, (number, from, length, to) => {
        const nar = narOf(sink => specToSink(randomTree(number, { entries: 8, maxFileBytes: 40 }), sink))
        const piece = nar.subarray(from * 8, (from + length) * 8)
        const rest = Buffer.concat([nar.subarray(0, from * 8), nar.subarray((from + length) * 8)])
        const changed = [rest, Buffer.concat([rest.subarray(0, to * 8), piece, rest.subarray(to * 8)])]
        for (const bytes of changed) acceptsExactly(bytes)
      }),
      { seed, numRuns: 500 },
    )
  })
})

describe('contents', () => {
  test('are views of the chunks', () => {
    const file = Buffer.alloc(1000, 7)
    const nar = narOf(sink => {
      sink.file(EMPTY_NAME, false, file.length)
      sink.contents(file)
      sink.endFile()
    })
    const views: Uint8Array[] = []
    const parser = new NarParser({ ...anything, contents: bytes => views.push(bytes) })
    const chunks = [nar.subarray(0, 300), new Uint8Array(nar.subarray(300, 700)), nar.subarray(700)]
    for (const chunk of chunks) parser.push(chunk)
    parser.end()
    assert.deepEqual(
      views.map(view => view.buffer),
      chunks.map(chunk => chunk.buffer),
    )
    assert.deepEqual(Buffer.concat(views), file)
  })

  test('of a length over 4 GiB are counted exactly', () => {
    const size = 5 * 1024 ** 3
    let told = 0
    const parser = new NarParser({
      ...anything,
      file: (_name, _executable, said) => assert.equal(said, size),
      contents: bytes => {
        told += bytes.length
      },
    })
    parser.push(narBytes('nix-archive-1', '(', 'type', 'regular', 'contents', narLength(size)))
    const chunk = Buffer.alloc(512 * 1024 * 1024)
    for (let i = 0; i < 10; i++) parser.push(chunk)
    parser.push(narBytes(')'))
    parser.end()
    assert.equal(told, size)
  })
})

describe('depth', () => {
  const nested = (levels: number) => {
    const open = ['entry', '(', 'name', 'd', 'node', '(', 'type', 'directory']
    const inner = Array.from({ length: levels - 1 })
    const ends = inner.flatMap(() => [')', ')'])
    return narBytes('nix-archive-1', '(', 'type', 'directory', ...inner.flatMap(() => open), ...ends, ')')
  }

  test('2,048 levels are accepted', () => {
    const nar = nested(MAX_DEPTH)
    assert.equal(MAX_DEPTH, 2048)
    assert.ok(rewritten(nar).equals(nar))
  })

  test('2,049 levels are refused, in one short line', () => {
    const message = formatErrorOf(() => parseNar(nested(MAX_DEPTH + 1), anything))
    assert.match(message, /nested over 2048 levels/)
    assert.ok(message.length < 700, message)
  })
})

describe('limits', () => {
  test('a name of 255 bytes and a target of 4,095 are accepted, also byte by byte', () => {
    const nar = narOf(sink => {
      sink.directory(EMPTY_NAME)
      sink.symlink(Buffer.alloc(255, 97), Buffer.alloc(4095, 98))
      sink.endDirectory()
    })
    assert.ok(rewritten(nar).equals(nar))
    const bytes = Array.from(nar, (_, i) => nar.subarray(i, i + 1))
    assert.deepEqual(eventsOf(...bytes), eventsOf(nar))
  })
})

test('after an error every call throws it again', () => {
  const parser = new NarParser(anything)
  const first = formatErrorOf(() => parser.push(Buffer.from('no NAR at all, but long enough')))
  assert.equal(
    formatErrorOf(() => parser.push(golden)),
    first,
  )
  assert.equal(
    formatErrorOf(() => parser.end()),
    first,
  )

  const full = new Error('disk full')
  const throwing = new NarParser({
    ...anything,
    endFile() {
      throw full
    },
  })
  assert.throws(() => throwing.push(golden), full)
  assert.throws(() => throwing.end(), full)
})
