import { FUSE_MAJOR, FUSE_MINOR, INIT_FLAGS, INIT_FLAGS2, OLDEST_MINOR } from './constants.ts'
import { IN_HEADER, INIT_IN, INIT_OUT } from './layouts.ts'

/** The largest READ that is answered, bytes; the kernel takes up to 256 pages (fs.fuse.max_pages_limit). */
export const MAX_READ = 1024 * 1024
const MAX_PAGES = 256

/** Requests that the kernel sends ahead of need at once, and how many of them it takes for congestion. */
const MAX_BACKGROUND = 128
const CONGESTION_THRESHOLD = 96

/** Nothing can be written; this is the least that the kernel takes for an answer. */
const MAX_WRITE = 4096
/** Nanoseconds. */
const TIME_GRANULARITY = 1

/**
 * What is asked for, as far as the kernel offers it. Not AUTO_INVAL_DATA, which would make it ask for attributes before
 * reads: nothing here ever changes.
 */
const WANTED = Object.values(INIT_FLAGS).reduce((all, flag) => all | flag, 0)
const WANTED2 = Object.values(INIT_FLAGS2).reduce((all, flag) => all | flag, 0)

/**
 * The body of the answer to an INIT request (struct fuse_init_out), or what is wrong with it. A kernel of a later major
 * version is told ours, and asks again.
 */
export function negotiate(request: Buffer): Buffer | { refused: string } {
  const body = request.subarray(IN_HEADER.size)
  if (body.length < INIT_IN.oldSize) return { refused: `INIT of ${body.length} bytes` }
  const major = body.readUInt32LE(INIT_IN.major)
  const minor = body.readUInt32LE(INIT_IN.minor)
  const reply = Buffer.alloc(INIT_OUT.size)
  reply.writeUInt32LE(FUSE_MAJOR, INIT_OUT.major)
  reply.writeUInt32LE(Math.min(FUSE_MINOR, minor), INIT_OUT.minor)
  if (major > FUSE_MAJOR) return reply
  if (major < FUSE_MAJOR || minor < OLDEST_MINOR) {
    return { refused: `this kernel speaks FUSE ${major}.${minor}, and ${FUSE_MAJOR}.${OLDEST_MINOR} is needed` }
  }
  const offered = body.readUInt32LE(INIT_IN.flags)
  const extended = (offered & INIT_FLAGS.FUSE_INIT_EXT) !== 0 && body.length >= INIT_IN.size
  reply.writeUInt32LE(MAX_READ, INIT_OUT.maxReadahead)
  reply.writeUInt32LE((offered & WANTED) >>> 0, INIT_OUT.flags)
  reply.writeUInt16LE(MAX_BACKGROUND, INIT_OUT.maxBackground)
  reply.writeUInt16LE(CONGESTION_THRESHOLD, INIT_OUT.congestionThreshold)
  reply.writeUInt32LE(MAX_WRITE, INIT_OUT.maxWrite)
  reply.writeUInt32LE(TIME_GRANULARITY, INIT_OUT.timeGran)
  reply.writeUInt16LE(MAX_PAGES, INIT_OUT.maxPages)
  reply.writeUInt32LE(extended ? (body.readUInt32LE(INIT_IN.flags2) & WANTED2) >>> 0 : 0, INIT_OUT.flags2)
  return reply
}
