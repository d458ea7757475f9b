import assert from 'node:assert/strict'
import { test } from 'node:test'
import { invalidateEntry, invalidateInode, resend } from '../../../src/fs/protocol/notify.ts'
import type { NodeId } from '../../../src/index/types.ts'

// Notifications byte by byte: struct fuse_out_header, then the struct of include/uapi/linux/fuse.h.

/** Bytes in hexadecimal, spaces between fields. */
const bytes = (...fields: string[]) => Buffer.from(fields.join('').replaceAll(' ', ''), 'hex')

const NO_UNIQUE = '00000000 00000000'

test('INVAL_ENTRY: parent, the length of the name, flags, the name and its NUL', () => {
  assert.deepEqual(
    invalidateEntry(1 as NodeId, Buffer.from('abc')),
    bytes('24000000', '03000000', NO_UNIQUE, '01000000 00000000', '03000000', '00000000', '616263 00'),
  )
})

test('INVAL_ENTRY of a node and a name that are no small numbers and no text', () => {
  assert.deepEqual(
    invalidateEntry((2 ** 52 + 2 ** 33 + 5) as NodeId, Buffer.of(0xff, 0x2e)),
    bytes('23000000', '03000000', NO_UNIQUE, '05000000 02001000', '02000000', '00000000', 'ff2e 00'),
  )
})

test('INVAL_ENTRY of the longest name', () => {
  const message = invalidateEntry(1 as NodeId, Buffer.alloc(255, 'n'))
  assert.deepEqual([message.length, message.readUInt32LE(0), message.readUInt32LE(24)], [288, 288, 255])
  assert.deepEqual(message.subarray(32), Buffer.concat([Buffer.alloc(255, 'n'), Buffer.of(0)]))
})

test('INVAL_INODE: the node, and all of its contents (from 0, of length 0)', () => {
  const nothing = '00000000 00000000'
  assert.deepEqual(
    invalidateInode((2 ** 33 + 1) as NodeId),
    bytes('28000000', '02000000', NO_UNIQUE, '01000000 02000000', nothing, nothing),
  )
})

test('RESEND is a header alone', () => {
  assert.deepEqual(resend(), bytes('10000000', '07000000', NO_UNIQUE))
})
