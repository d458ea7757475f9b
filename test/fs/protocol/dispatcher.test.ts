import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { counter } from '../../../src/fs/counters.ts'
import { FUSE } from '../../../src/fs/protocol/constants.ts'
import { operationName } from '../../../src/fs/protocol/operations.ts'
import { StoreFs } from '../../../src/fs/store-fs.ts'
import type { ReadOnlyFs } from '../../../src/fs/types.ts'
import { E, isAnswered } from '../../helpers/kernel-replies.ts'
import { nodeAt, Serving, storeWith } from '../../helpers/served-store.ts'
import { getattr, makeRequest, OPCODE, read, readdir, withBody } from '../../helpers/synthetic-kernel.ts'
import { goodRequests } from './requests.ts'
import { trees } from './trees.ts'

// What is answered to whom: every opcode, what is malformed, and what fails.

const store = await storeWith({ after }, trees)
const serving = new Serving(store, { xattr: true })
const nodes = {
  tree: nodeAt(store, 'tree').id,
  file: nodeAt(store, 'tree', 'large').id,
  link: nodeAt(store, 'tree', 'link').id,
}
const good = goodRequests(nodes)

/** The decided answer to every opcode that is not answered by what the store holds. */
const decided: Record<string, readonly string[]> = {
  // The kernel remembers these for the life of the mount, and opens and closes by itself.
  ENOSYS: [
    ...['OPEN', 'OPENDIR', 'FLUSH', 'FSYNC', 'FSYNCDIR', 'ACCESS', 'LSEEK', 'STATX', 'IOCTL', 'POLL', 'BMAP'],
    ...['GETLK', 'SETLK', 'SETLKW', 'SYNCFS', 'SETUPMAPPING', 'REMOVEMAPPING', 'INIT'],
  ],
  EROFS: [
    ...['SETATTR', 'SYMLINK', 'MKNOD', 'MKDIR', 'UNLINK', 'RMDIR', 'RENAME', 'RENAME2', 'LINK', 'WRITE', 'SETXATTR'],
    ...['REMOVEXATTR', 'CREATE', 'TMPFILE', 'FALLOCATE', 'COPY_FILE_RANGE', 'COPY_FILE_RANGE_64'],
  ],
  '': ['RELEASE', 'RELEASEDIR', 'DESTROY'],
}
const silent = ['FORGET', 'BATCH_FORGET', 'NOTIFY_REPLY', 'INTERRUPT']
const computed = ['LOOKUP', 'GETATTR', 'READLINK', 'READ', 'READDIR', 'READDIRPLUS', 'STATFS', 'GETXATTR', 'LISTXATTR']

describe('opcodes', () => {
  test('every one has an answer', () => {
    const all = [...Object.values(decided).flat(), ...silent, ...computed]
    assert.deepEqual(all.sort(), Object.keys(FUSE).sort())
    for (const [name, opcode] of Object.entries(FUSE)) assert.equal(operationName(opcode), name)
  })

  for (const [error, names] of Object.entries(decided)) {
    test(`${error || 'success without a body'}: ${names.join(', ')}`, () => {
      const expected = error === '' ? 0 : E[error as keyof typeof E]
      for (const name of names as (keyof typeof FUSE)[]) {
        // Whatever comes with it, also on a node that is not there.
        for (const [node, size] of [
          [nodes.file, 0],
          [nodes.tree, 64],
          [987654, 40],
        ] as const) {
          const reply = serving.reply(makeRequest(FUSE[name], node, Buffer.alloc(size, 'x')))
          assert.equal(reply.error, expected, name)
          assert.equal(reply.body.length, 0)
        }
      }
    })
  }

  test('FORGET and what else nobody waits for is never answered', () => {
    for (const name of silent as (keyof typeof FUSE)[]) {
      for (const size of [0, 8, 40, 1024])
        assert.equal(serving.answer(makeRequest(FUSE[name], 1, Buffer.alloc(size))), undefined)
    }
    // The node is as it was, as nothing is counted.
    assert.equal(serving.error(getattr(nodes.file)), 0)
  })

  test('one that is not known is ENOSYS', () => {
    const known = Object.values(FUSE) as number[]
    for (const opcode of [...Array(256).keys(), 4096, 0x7fffffff, 0x80000000, 0xffffffff]) {
      if (known.includes(opcode)) continue
      assert.equal(serving.error(makeRequest(opcode, nodes.tree, Buffer.alloc(64))), E.ENOSYS, `${opcode}`)
    }
  })

  test('unique is echoed as it is, also with the bit of a request that was sent again', () => {
    for (const unique of [1n, 2n ** 32n - 1n, 2n ** 53n + 1n, 2n ** 63n + 2n, 2n ** 64n - 1n]) {
      for (const opcode of [OPCODE.STATFS, FUSE.OPEN, 1000]) {
        const request = makeRequest(opcode, 1, Buffer.alloc(0), unique)
        assert.equal(serving.reply(request).unique, unique)
      }
    }
  })
})

describe('malformed requests', () => {
  for (const [what, request] of Object.entries(good)) {
    test(`${what}: every truncation, whether len says so or not`, () => {
      for (let length = 0; length < request.length; length++) {
        const cut = request.subarray(0, length)
        if (length < 16) {
          // What it is about is not known, so nobody can be told.
          assert.equal(serving.answer(cut), undefined)
          continue
        }
        const before = serving.count(counter.malformed)
        assert.equal(serving.error(cut), isAnswered(cut) ? E.EINVAL : undefined)
        assert.equal(serving.count(counter.malformed), before + 1)
        // With a len that agrees it may be a good one, of which something was optional.
        if (length >= 40) serving.answer(withBody(request, request.subarray(40, length)))
      }
    })

    test(`${what}: a len that disagrees`, () => {
      for (const length of [0, 1, 39, 40, request.length - 1, request.length + 1, 2 ** 31, 2 ** 32 - 1]) {
        if (length === request.length) continue
        const wrong = Buffer.from(request)
        wrong.writeUInt32LE(length, 0)
        assert.equal(serving.error(wrong), isAnswered(request) ? E.EINVAL : undefined)
      }
    })

    test(`${what}: bytes after its end change nothing`, () => {
      const longer = Buffer.concat([request, Buffer.alloc(100, 0xff)])
      const expected = serving.answer(request)
      assert.deepEqual(serving.answer(withBody(longer, longer.subarray(40))), expected)
      // A len that does not know of them is one that disagrees.
      assert.equal(serving.error(longer), isAnswered(request) ? E.EINVAL : undefined)
    })
  }

  const least: [what: string, bytes: number][] = [
    ['LOOKUP', 2],
    ['READ', 40],
    ['READDIR', 40],
    ['READDIRPLUS', 40],
    ['GETXATTR', 10],
    ['LISTXATTR', 8],
  ]
  for (const [what, bytes] of least) {
    test(`${what} of less than ${bytes} bytes is EINVAL`, () => {
      const body = good[what]!.subarray(40)
      for (let length = 0; length < bytes; length++) {
        assert.equal(serving.error(withBody(good[what]!, body.subarray(0, length))), E.EINVAL)
      }
    })
  }

  test('a GETXATTR without the NUL of its name is EINVAL', () => {
    const request = good.GETXATTR!
    assert.equal(serving.error(withBody(request, request.subarray(40, request.length - 1))), E.EINVAL)
  })
})

describe('a filesystem that fails', () => {
  /** Every method throws, but those in `works`. */
  const failing = (works: Partial<ReadOnlyFs> = {}): ReadOnlyFs => {
    const fail = (): never => {
      throw new Error('the disk is on fire')
    }
    return {
      lookup: fail,
      attributes: fail,
      readlink: fail,
      list: fail,
      read: fail,
      cid: fail,
      usage: fail,
      describe: fail,
      ...works,
    }
  }

  for (const [what, request] of Object.entries(good)) {
    if (!computed.includes(what)) continue
    test(`${what} is EIO, and says so once`, () => {
      const broken = new Serving(store, { xattr: true, fs: failing({ describe: () => 'somewhere' }) })
      assert.equal(broken.reply(request).error, E.EIO)
      assert.deepEqual(broken.failures, [`somewhere: ${what}: the disk is on fire`])
      assert.equal(broken.count(counter.failures), 1)
      assert.equal(broken.count(counter.malformed), 0)
    })
  }

  test('where it is cannot be found out either, it is said by its number', () => {
    const broken = new Serving(store, { fs: failing() })
    broken.reply(getattr(4711))
    assert.deepEqual(broken.failures, ['node 4711: GETATTR: the disk is on fire'])
  })

  test('halfway through a listing: nothing of the half is answered', () => {
    const fs = new StoreFs(store.reader, store.state.folder)
    const half: ReadOnlyFs['list'] = function* (directory, cookie) {
      let left = 3
      for (const entry of fs.list(directory, cookie)!) {
        if (left-- === 0) throw new Error('page 2 is damaged')
        yield entry
      }
    }
    const broken = new Serving(store, { fs: failing({ describe: fs.describe.bind(fs), list: half }) })
    const reply = broken.reply(readdir(nodes.tree, 0, 4096, true))
    assert.deepEqual([reply.error, reply.body.length], [E.EIO, 0])
    assert.match(broken.failures[0]!, /^\/nix\/store\/[^/]+-tree: READDIRPLUS: page 2 is damaged$/)
  })

  test('the next request is answered again', () => {
    let calls = 0
    const fs = new StoreFs(store.reader, store.state.folder)
    const once: ReadOnlyFs['read'] = (...args) => {
      if (calls++ === 0) throw new Error('once')
      return fs.read(...args)
    }
    const flaky = new Serving(store, { fs: failing({ describe: fs.describe.bind(fs), read: once }) })
    const request = read(nodes.file, 0, 4096)
    assert.equal(flaky.reply(request).error, E.EIO)
    assert.equal(flaky.body(request).length, 4096)
    assert.match(flaky.failures[0]!, /-tree\/large: READ: once$/)
  })
})
