import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { NodeEntry, NodeId } from '../../../src/index/types.ts'
import { type Dirent, decodeDirents, decodeEntry, E } from '../../helpers/kernel-replies.ts'
import { nodeAt, pathNamed, Serving, storeWith, UNKNOWN_NODE } from '../../helpers/served-store.ts'
import { lookup, makeRequest, OPCODE, readdir } from '../../helpers/synthetic-kernel.ts'
import { MIB, trees } from './trees.ts'

// Listings, held against what the index has and against what LOOKUP says of each entry.

const ROOT = 1 as NodeId
/** d_type of dirent.h. */
const types = { directory: 4, file: 8, symlink: 10 } as const

const store = await storeWith({ after }, trees)
const serving = new Serving(store)
const tree = nodeAt(store, 'tree').id
const many = nodeAt(store, 'many').id
const nothing = nodeAt(store, 'tree', 'nothing').id
const links = Number(decodeEntry(serving.body(lookup(ROOT, '.links'))).nodeid) as NodeId

/** What a folder has, in the order of its listing. */
function entriesOf(folder: NodeId): NodeEntry[] {
  if (folder === links) return []
  if (folder !== ROOT) return [...store.index.entries(folder, 0)]
  const paths = ['tree', 'many', 'file', 'path-link'].map(name => pathNamed(store, name))
  return paths.sort((a, b) => a.firstNode - b.firstNode).map(record => store.reader.rootEntry(record))
}

/** Lists from `offset` to the end, as a reader with a buffer of `size` bytes does. */
function list(folder: NodeId, plus: boolean, size: number, offset: number | bigint = 0): Dirent[] {
  const found: Dirent[] = []
  for (let from = BigInt(offset); ; from = found.at(-1)!.off) {
    const body = serving.body(readdir(folder, from, size, plus))
    if (body.length === 0) return found
    found.push(...decodeDirents(body, plus))
  }
}

for (const plus of [false, true]) {
  /** Bytes of an entry, padded. */
  const bytesOf = (name: Uint8Array) => (plus ? 128 : 0) + ((24 + name.length + 7) & ~7)
  const largest = bytesOf(Buffer.alloc(255))

  describe(plus ? 'READDIRPLUS' : 'READDIR', () => {
    for (const [what, folder] of [
      ['a folder', tree],
      ['a folder of many pages', many],
      ['an empty folder', nothing],
      ['the root', ROOT],
      ['.links', links],
    ] as const) {
      test(`of ${what} gives . and .. and every entry once, in order`, () => {
        const listed = list(folder, plus, MIB)
        assert.deepEqual(
          listed.slice(0, 2).map(({ name, ino, type }) => [name.toString(), ino, type]),
          ['.', '..'].map(name => [name, BigInt(folder), types.directory]),
        )
        assert.deepEqual(
          listed.slice(2).map(({ name, ino, type }) => ({ name, ino, type })),
          entriesOf(folder).map(({ name, id, kind }) => ({ name, ino: BigInt(id), type: types[kind] })),
        )
        for (const [i, { off }] of listed.entries()) assert.ok(off > (i === 0 ? 0n : listed[i - 1]!.off))
      })

      test(`of ${what} goes on from every offset`, () => {
        const whole = list(folder, plus, MIB)
        for (const [i, { off }] of whole.entries()) {
          // One reply, of as many entries as 16 KiB hold, is compared for each place.
          const next = decodeDirents(serving.body(readdir(folder, off, 16384, plus)), plus)
          assert.deepEqual(next, whole.slice(i + 1, i + 1 + next.length))
          assert.equal(next.length > 0, i + 1 < whole.length)
        }
      })

      test(`of ${what} is the same with every size of buffer`, () => {
        const whole = list(folder, plus, MIB)
        for (const size of [largest, largest + 1, 512, 1000, 4096, 32768]) {
          assert.deepEqual(list(folder, plus, size), whole)
        }
      })
    }

    test('fills the buffer as far as whole entries go', () => {
      const size = 4096
      const got = decodeDirents(serving.body(readdir(many, 0, size, plus)), plus)
      const used = got.reduce((sum, { name }) => sum + bytesOf(name), 0)
      const next = list(many, plus, MIB)[got.length]!
      assert.ok(used <= size && used + bytesOf(next.name) > size)
    })

    test('of a buffer without room for the next entry is EINVAL, as an empty reply would be the end', () => {
      const whole = list(tree, plus, MIB)
      for (let i = 0; i < whole.length; i++) {
        const offset = i === 0 ? 0n : whole[i - 1]!.off
        const needed = bytesOf(whole[i]!.name)
        for (const size of [0, 1, needed - 1]) {
          assert.equal(serving.error(readdir(tree, offset, size, plus)), E.EINVAL)
        }
        assert.deepEqual(decodeDirents(serving.body(readdir(tree, offset, needed, plus)), plus), [whole[i]])
      }
    })

    test('takes more room than it needs', () => {
      assert.deepEqual(list(tree, plus, 2 ** 32 - 1), list(tree, plus, MIB))
    })

    test('from beyond the end gives nothing', () => {
      for (const folder of [tree, many, nothing, ROOT, links]) {
        const end = list(folder, plus, MIB).at(-1)!.off
        for (const offset of [end, end + 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]) {
          for (const size of [0, 4096]) {
            assert.equal(serving.body(readdir(folder, offset, size, plus)).length, 0, `${folder} from ${offset}`)
          }
        }
      }
      assert.deepEqual(serving.failures, [])
    })

    test('of what is no folder', () => {
      for (const below of ['hello', 'link']) {
        const { id } = nodeAt(store, 'tree', below)
        assert.equal(serving.error(readdir(id, 0, 4096, plus)), E.ENOTDIR)
      }
      for (const node of [0, UNKNOWN_NODE, 2n ** 64n - 1n]) {
        assert.equal(serving.error(readdir(node, 0, 4096, plus)), E.ENOENT)
      }
    })
  })
}

test('READDIRPLUS says of each entry what LOOKUP says, and nothing of . and ..', () => {
  for (const folder of [tree, many, ROOT]) {
    const [dot, dots, ...listed] = list(folder, true, MIB)
    for (const { entry } of [dot!, dots!]) assert.equal(entry?.nodeid, 0n)
    for (const { name, entry } of listed) {
      assert.deepEqual(entry, decodeEntry(serving.body(lookup(folder, name))))
    }
  }
})

test('a path that is added while the root is listed comes after what was listed', async () => {
  const before = list(ROOT, false, MIB)
  const ingest = store.ingest({ pin: false })
  await ingest.addNar(oneFile(), 'later')
  await ingest.commit()
  await ingest.close()
  store.index.refresh()
  const rest = list(ROOT, false, MIB, before.at(-1)!.off)
  assert.deepEqual(
    rest.map(({ name }) => name.toString()),
    [pathNamed(store, 'later').baseName],
  )
  assert.deepEqual(list(ROOT, false, MIB), [...before, ...rest])
})

test('a handle that was opened otherwise means nothing', () => {
  // fh, offset, size, read_flags, lock_owner, flags: what a kernel that opened the folder would send.
  const body = Buffer.alloc(40)
  body.writeBigUInt64LE(77n, 0)
  body.writeUInt32LE(4096, 16)
  body.writeUInt32LE(2, 20)
  body.writeBigUInt64LE(78n, 24)
  assert.deepEqual(decodeDirents(serving.body(makeRequest(OPCODE.READDIR, tree, body)), false), list(tree, false, MIB))
})

/** The NAR of a file with one byte. */
async function* oneFile(): AsyncGenerator<Buffer> {
  const tokens = ['nix-archive-1', '(', 'type', 'regular', 'contents', 'x', ')']
  yield Buffer.concat(
    tokens.map(token => {
      const bytes = Buffer.alloc(8 + ((token.length + 7) & ~7))
      bytes.writeUInt32LE(token.length)
      bytes.write(token, 8)
      return bytes
    }),
  )
}
