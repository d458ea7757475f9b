/** Replies as the kernel takes them; what it would refuse fails here. Numbers as in synthetic-kernel.ts. */
import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { OPCODE, uniqueOf } from './synthetic-kernel.ts'

const OUT_HEADER_BYTES = 16

/** Errors as replies carry them: negative. */
export const E = Object.fromEntries(Object.entries(constants.errno).map(([name, number]) => [name, -number])) as {
  [name in keyof typeof constants.errno]: number
}

export interface Reply {
  /** 0 or a negative errno. */
  error: number
  unique: bigint
  body: Buffer
}

/** One write to the device; what the kernel answers with EINVAL (fuse_dev_do_write) fails. */
export function decodeReply(bytes: Buffer): Reply {
  assert.ok(bytes.length >= OUT_HEADER_BYTES, `a reply of ${bytes.length} bytes`)
  assert.equal(bytes.readUInt32LE(0), bytes.length, 'out_header.len is the length of the write')
  const error = bytes.readInt32LE(4)
  assert.ok(error <= 0 && error > -512, `error ${error}`)
  if (error !== 0) assert.equal(bytes.length, OUT_HEADER_BYTES, 'an error has no body')
  return { error, unique: bytes.readBigUInt64LE(8), body: bytes.subarray(OUT_HEADER_BYTES) }
}

/** Nobody waits for an answer to these. */
const unanswered: readonly number[] = [OPCODE.FORGET, OPCODE.BATCH_FORGET, OPCODE.NOTIFY_REPLY, OPCODE.INTERRUPT]

/** Whether whoever sent this gets a reply: to what is too short for a `unique` nothing can be said. */
export function isAnswered(request: Buffer): boolean {
  return request.length >= 16 && !unanswered.includes(request.readUInt32LE(4))
}

/** Bodies of successful replies whose size the kernel insists on. */
const exactSizes = new Map<number, number>([
  [OPCODE.LOOKUP, 128],
  [OPCODE.GETATTR, 104],
  [OPCODE.STATFS, 80],
  [OPCODE.INIT, 64],
])
const sized: readonly number[] = [OPCODE.READ, OPCODE.READDIR, OPCODE.READDIRPLUS]
const xattrs: readonly number[] = [OPCODE.GETXATTR, OPCODE.LISTXATTR]

/** Fails for a reply that the kernel would not take for this request. */
export function checkReply(request: Buffer, { error, unique, body }: Reply): void {
  assert.equal(unique, uniqueOf(request), 'unique is that of the request')
  if (error !== 0) return
  const opcode = request.readUInt32LE(4)
  const exact = exactSizes.get(opcode)
  if (exact !== undefined) assert.equal(body.length, exact)
  else if (sized.includes(opcode)) assert.ok(body.length <= request.readUInt32LE(56), 'no more than asked for')
  else if (xattrs.includes(opcode)) {
    const size = request.readUInt32LE(40)
    if (size === 0) assert.equal(body.length, 8)
    else assert.ok(body.length <= size, 'no more than asked for')
  } else if (opcode === OPCODE.READLINK) assert.ok(body.length < 4096, 'shorter than a page')
  else assert.equal(body.length, 0)
}

/** struct fuse_attr: all of its fields. */
export function decodeAttr(bytes: Buffer) {
  return {
    ino: bytes.readBigUInt64LE(0),
    size: bytes.readBigUInt64LE(8),
    blocks: bytes.readBigUInt64LE(16),
    atime: bytes.readBigUInt64LE(24),
    mtime: bytes.readBigUInt64LE(32),
    ctime: bytes.readBigUInt64LE(40),
    atimensec: bytes.readUInt32LE(48),
    mtimensec: bytes.readUInt32LE(52),
    ctimensec: bytes.readUInt32LE(56),
    mode: bytes.readUInt32LE(60),
    nlink: bytes.readUInt32LE(64),
    uid: bytes.readUInt32LE(68),
    gid: bytes.readUInt32LE(72),
    rdev: bytes.readUInt32LE(76),
    blksize: bytes.readUInt32LE(80),
    flags: bytes.readUInt32LE(84),
  }
}

/** struct fuse_entry_out. */
export function decodeEntry(bytes: Buffer) {
  return {
    nodeid: bytes.readBigUInt64LE(0),
    generation: bytes.readBigUInt64LE(8),
    entryValid: bytes.readBigUInt64LE(16),
    attrValid: bytes.readBigUInt64LE(24),
    entryValidNsec: bytes.readUInt32LE(32),
    attrValidNsec: bytes.readUInt32LE(36),
    attr: decodeAttr(bytes.subarray(40, 128)),
  }
}

/** struct fuse_attr_out. */
export function decodeAttrOut(bytes: Buffer) {
  return {
    attrValid: bytes.readBigUInt64LE(0),
    attrValidNsec: bytes.readUInt32LE(8),
    attr: decodeAttr(bytes.subarray(16, 104)),
  }
}

export interface Dirent {
  ino: bigint
  off: bigint
  type: number
  name: Buffer
  /** Of READDIRPLUS. */
  entry: ReturnType<typeof decodeEntry> | undefined
}

/** The entries of a reply to READDIR or READDIRPLUS, as parse_dirfile of fs/fuse/readdir.c takes them. */
export function decodeDirents(body: Buffer, plus: boolean): Dirent[] {
  const found: Dirent[] = []
  const prefix = plus ? 128 : 0
  for (let at = 0; at < body.length; ) {
    const dirent = at + prefix
    assert.ok(dirent + 24 <= body.length, 'no part of an entry')
    const length = body.readUInt32LE(dirent + 16) // namelen
    assert.ok(length > 0 && length <= 1024, `a name of ${length} bytes`)
    const end = dirent + ((24 + length + 7) & ~7)
    assert.ok(end <= body.length, 'no part of an entry')
    const name = Buffer.from(body.subarray(dirent + 24, dirent + 24 + length))
    assert.ok(!name.includes('/') && !name.includes(0), `${name} is no name`)
    assert.ok(
      body.subarray(dirent + 24 + length, end).every(byte => byte === 0),
      'padding leaks nothing',
    )
    found.push({
      ino: body.readBigUInt64LE(dirent),
      off: body.readBigUInt64LE(dirent + 8),
      type: body.readUInt32LE(dirent + 20),
      name,
      entry: plus ? decodeEntry(body.subarray(at, dirent)) : undefined,
    })
    at = end
  }
  return found
}
