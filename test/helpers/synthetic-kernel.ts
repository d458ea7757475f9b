/**
 * Requests as the kernel makes them, for tests without a mount. All numbers are written out here, from
 * include/uapi/linux/fuse.h and how fs/fuse of the kernel uses it, and not taken from what is tested.
 */

export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  READLINK: 5,
  READ: 15,
  STATFS: 17,
  GETXATTR: 22,
  LISTXATTR: 23,
  INIT: 26,
  READDIR: 28,
  INTERRUPT: 36,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  READDIRPLUS: 44,
} as const

/** A node's number as the kernel has it: 64 bits. */
export type Node = number | bigint

const IN_HEADER_BYTES = 40

let lastUnique = 0n

/** struct fuse_in_header and a body. Without `unique` the kernel's next one: they are even and rise. */
export function makeRequest(opcode: number, nodeid: Node, body: Uint8Array = Buffer.alloc(0), unique?: bigint): Buffer {
  lastUnique += 2n
  const bytes = Buffer.alloc(IN_HEADER_BYTES + body.length)
  bytes.writeUInt32LE(bytes.length, 0) // len
  bytes.writeUInt32LE(opcode, 4) // opcode
  bytes.writeBigUInt64LE(unique ?? lastUnique, 8) // unique
  bytes.writeBigUInt64LE(BigInt(nodeid), 16) // nodeid
  bytes.writeUInt32LE(1000, 24) // uid
  bytes.writeUInt32LE(1000, 28) // gid
  bytes.writeUInt32LE(4711, 32) // pid; total_extlen and padding stay 0
  bytes.set(body, IN_HEADER_BYTES)
  return bytes
}

/** The same request, with other lengths of body and with a `len` that agrees. */
export function withBody(request: Buffer, body: Uint8Array): Buffer {
  const bytes = Buffer.concat([request.subarray(0, IN_HEADER_BYTES), body])
  bytes.writeUInt32LE(bytes.length, 0)
  return bytes
}

export const lookup = (parent: Node, name: Uint8Array | string) =>
  makeRequest(OPCODE.LOOKUP, parent, Buffer.concat([Buffer.from(name as string), Buffer.of(0)]))

export function forget(nodeid: Node, nlookup: bigint): Buffer {
  const body = Buffer.alloc(8)
  body.writeBigUInt64LE(nlookup, 0)
  return makeRequest(OPCODE.FORGET, nodeid, body)
}

export function batchForget(nodes: readonly Node[]): Buffer {
  const body = Buffer.alloc(8 + 16 * nodes.length)
  body.writeUInt32LE(nodes.length, 0) // count, then a dummy
  for (const [i, node] of nodes.entries()) {
    body.writeBigUInt64LE(BigInt(node), 8 + 16 * i) // nodeid
    body.writeBigUInt64LE(1n, 16 + 16 * i) // nlookup
  }
  return makeRequest(OPCODE.BATCH_FORGET, 0, body)
}

/** struct fuse_getattr_in is all 0 where no file is open. */
export const getattr = (nodeid: Node) => makeRequest(OPCODE.GETATTR, nodeid, Buffer.alloc(16))

export const readlink = (nodeid: Node) => makeRequest(OPCODE.READLINK, nodeid)

export const statfs = (nodeid: Node = 1) => makeRequest(OPCODE.STATFS, nodeid)

/** struct fuse_read_in, of READ, READDIR and READDIRPLUS. */
function readIn(opcode: number, nodeid: Node, offset: number | bigint, size: number): Buffer {
  const body = Buffer.alloc(40)
  // fh is 0: nothing was opened.
  body.writeBigUInt64LE(BigInt(offset), 8) // offset
  body.writeUInt32LE(size, 16) // size
  body.writeUInt32LE(0o100000, 32) // flags: O_LARGEFILE
  return makeRequest(opcode, nodeid, body)
}

export const read = (nodeid: Node, offset: number | bigint, size: number) => readIn(OPCODE.READ, nodeid, offset, size)

export const readdir = (nodeid: Node, offset: number | bigint, size: number, plus: boolean) =>
  readIn(plus ? OPCODE.READDIRPLUS : OPCODE.READDIR, nodeid, offset, size)

/** struct fuse_getxattr_in. */
function getxattrIn(size: number): Buffer {
  const body = Buffer.alloc(8)
  body.writeUInt32LE(size, 0)
  return body
}

export const getxattr = (nodeid: Node, name: string, size: number) =>
  makeRequest(OPCODE.GETXATTR, nodeid, Buffer.concat([getxattrIn(size), Buffer.from(`${name}\0`)]))

export const listxattr = (nodeid: Node, size: number) => makeRequest(OPCODE.LISTXATTR, nodeid, getxattrIn(size))

/** INTERRUPT's own number is that of the request it is about, with bit 0 set. */
export function interrupt(unique: bigint): Buffer {
  const body = Buffer.alloc(8)
  body.writeBigUInt64LE(unique, 0)
  return makeRequest(OPCODE.INTERRUPT, 0, body, unique | 1n)
}

export interface InitOptions {
  major?: number
  minor: number
  flags: number
  /** Of 7.36 and later. */
  flags2?: number
}

/** struct fuse_init_in: 16 bytes before 7.36, 64 since. */
export function init({ major = 7, minor, flags, flags2 }: InitOptions): Buffer {
  const body = Buffer.alloc(flags2 === undefined ? 16 : 64)
  body.writeUInt32LE(major, 0) // major
  body.writeUInt32LE(minor, 4) // minor
  body.writeUInt32LE(131072, 8) // max_readahead
  body.writeUInt32LE(flags >>> 0, 12) // flags
  if (flags2 !== undefined) body.writeUInt32LE(flags2 >>> 0, 16) // flags2
  return makeRequest(OPCODE.INIT, 0, body)
}

export const uniqueOf = (request: Buffer) => request.readBigUInt64LE(8)
