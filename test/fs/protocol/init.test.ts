import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { negotiate } from '../../../src/fs/protocol/init.ts'
import { type InitOptions, init, withBody } from '../../helpers/synthetic-kernel.ts'

// INIT: what kernels of all versions offer, and what is made of it.

/** Bits of `flags` in include/uapi/linux/fuse.h that are asked for. */
const ASYNC_READ = 1 << 0
const BIG_WRITES = 1 << 5
const DO_READDIRPLUS = 1 << 13
const PARALLEL_DIROPS = 1 << 18
const MAX_PAGES = 1 << 22
const CACHE_SYMLINKS = 1 << 23
const EXPLICIT_INVAL_DATA = 1 << 25
const INIT_EXT = 1 << 30
const WANTED =
  ASYNC_READ |
  BIG_WRITES |
  DO_READDIRPLUS |
  PARALLEL_DIROPS |
  MAX_PAGES |
  CACHE_SYMLINKS |
  EXPLICIT_INVAL_DATA |
  INIT_EXT
/** Bit 38. */
const NO_EXPORT_SUPPORT = 1 << 6

const MIB = 1024 * 1024

/** struct fuse_init_out. */
function granted(request: Buffer) {
  const body = negotiate(request)
  assert.ok(Buffer.isBuffer(body), 'is not refused')
  assert.equal(body.length, 64)
  assert.ok(
    body.subarray(36).every(byte => byte === 0),
    'what is not asked for is 0',
  )
  return {
    major: body.readUInt32LE(0),
    minor: body.readUInt32LE(4),
    maxReadahead: body.readUInt32LE(8),
    flags: body.readUInt32LE(12),
    maxBackground: body.readUInt16LE(16),
    congestionThreshold: body.readUInt16LE(18),
    maxWrite: body.readUInt32LE(20),
    timeGran: body.readUInt32LE(24),
    maxPages: body.readUInt16LE(28),
    mapAlignment: body.readUInt16LE(30),
    flags2: body.readUInt32LE(32),
  }
}

const limits = {
  maxReadahead: MIB,
  maxBackground: 128,
  congestionThreshold: 96,
  maxWrite: 4096,
  timeGran: 1,
  maxPages: 256,
  mapAlignment: 0,
}

const kernels: [what: string, offer: InitOptions, minor: number, flags: number, flags2: number][] = [
  ['Linux 3.15', { minor: 23, flags: 0xffff }, 23, ASYNC_READ | BIG_WRITES | DO_READDIRPLUS, 0],
  ['Linux 4.19', { minor: 27, flags: 0x3fffff }, 27, ASYNC_READ | BIG_WRITES | DO_READDIRPLUS | PARALLEL_DIROPS, 0],
  ['Linux 5.4', { minor: 31, flags: 0x3fffffb }, 31, WANTED & ~INIT_EXT, 0],
  ['Linux 6.1', { minor: 37, flags: 0x73fffffb, flags2: 0x3 }, 37, WANTED, 0],
  // What Linux 6.18 was seen to offer.
  ['Linux 6.18', { minor: 45, flags: 0x73fffffb, flags2: 0x5fd }, 45, WANTED, NO_EXPORT_SUPPORT],
  ['one of the future', { minor: 99, flags: 0xffffffff, flags2: 0xffffffff }, 45, WANTED, NO_EXPORT_SUPPORT],
  ['one that offers nothing', { minor: 45, flags: 0, flags2: 0 }, 45, 0, 0],
  ['one whose flags2 do not count', { minor: 45, flags: ~INIT_EXT, flags2: 0x5fd }, 45, WANTED & ~INIT_EXT, 0],
]

for (const [what, offer, minor, flags, flags2] of kernels) {
  test(`${what} is answered with what it offers and we want`, () => {
    assert.deepEqual(granted(init(offer)), { major: 7, minor, flags, flags2, ...limits })
  })
}

test('flags2 that did not come are none, whatever flags say', () => {
  for (const length of [16, 17, 20, 63]) {
    const request = init({ minor: 45, flags: -1, flags2: -1 })
    assert.equal(granted(withBody(request, request.subarray(40, 40 + length))).flags2, 0)
  }
})

test('bytes that a later kernel appends change nothing', () => {
  const request = init({ minor: 60, flags: -1, flags2: -1 })
  const longer = withBody(request, Buffer.concat([request.subarray(40), Buffer.alloc(64, 0xff)]))
  assert.deepEqual(granted(longer), granted(request))
})

test('no flag is answered that was not offered', () => {
  const flags = fc.nat({ max: 2 ** 32 - 1 })
  fc.assert(
    fc.property(fc.integer({ min: 23, max: 60 }), flags, flags, fc.boolean(), (minor, flags, flags2, extended) => {
      const answer = granted(init({ minor, flags, ...(extended && { flags2 }) }))
      assert.equal(answer.flags & ~flags, 0)
      assert.equal(answer.flags2 & ~(extended ? flags2 : 0), 0)
      assert.ok(answer.minor <= minor)
    }),
    { seed: 20260102, numRuns: 2000 },
  )
})

test('a kernel of a later major version is told ours, and asks again', () => {
  const { major, minor, flags, flags2 } = granted(init({ major: 8, minor: 0, flags: -1, flags2: -1 }))
  assert.deepEqual([major, flags, flags2], [7, 0, 0])
  assert.ok(minor <= 45)
})

for (const [major, minor] of [
  [6, 0],
  [6, 99],
  [7, 0],
  [7, 22],
] as const) {
  test(`a kernel of ${major}.${minor} is refused by name`, () => {
    const reply = negotiate(init({ major, minor, flags: -1 }))
    assert.ok('refused' in reply)
    assert.equal(reply.refused, `this kernel speaks FUSE ${major}.${minor}, and 7.23 is needed`)
  })
}

test('an INIT that is too short is refused', () => {
  const request = init({ minor: 45, flags: -1 })
  for (let length = 0; length < 16; length++) {
    const reply = negotiate(withBody(request, request.subarray(40, 40 + length)))
    assert.ok('refused' in reply)
    assert.equal(reply.refused, `INIT of ${length} bytes`)
  }
})
