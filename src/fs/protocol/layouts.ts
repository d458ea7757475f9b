/**
 * Sizes of the protocol's structs and offsets of the fields that are used, in bytes, from include/uapi/linux/fuse.h.
 * All integers are in the processor's own order, which is little-endian wherever this program runs. A test holds this
 * table against the header itself.
 */

/** struct fuse_in_header, before every request's body. */
export const IN_HEADER = { size: 40, len: 0, opcode: 4, unique: 8, nodeid: 16, uid: 24, gid: 28, pid: 32 } as const

/** struct fuse_out_header, before every reply's body. */
export const OUT_HEADER = { size: 16, len: 0, error: 4, unique: 8 } as const

/** struct fuse_attr. */
export const ATTR = {
  size: 88,
  ino: 0,
  bytes: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
} as const

/** struct fuse_entry_out. */
export const ENTRY_OUT = {
  size: 128,
  nodeid: 0,
  generation: 8,
  entryValid: 16,
  attrValid: 24,
  entryValidNsec: 32,
  attrValidNsec: 36,
  attr: 40,
} as const

/** struct fuse_attr_out. */
export const ATTR_OUT = { size: 104, attrValid: 0, attrValidNsec: 8, attr: 16 } as const

/** struct fuse_read_in, which READ, READDIR and READDIRPLUS share. */
export const READ_IN = { size: 40, fh: 0, offset: 8, length: 16 } as const

/** struct fuse_getxattr_in; for GETXATTR the name follows it. */
export const GETXATTR_IN = { size: 8, length: 0 } as const

/** struct fuse_getxattr_out: the size that a value or list has. */
export const GETXATTR_OUT = { size: 8, length: 0 } as const

/** struct fuse_interrupt_in. */
export const INTERRUPT_IN = { size: 8, unique: 0 } as const

/** struct fuse_dirent, before the name; both are padded to a multiple of 8. */
export const DIRENT = { size: 24, ino: 0, off: 8, namelen: 16, type: 20 } as const

/** struct fuse_direntplus is a fuse_entry_out and then a fuse_dirent. */
export const DIRENTPLUS = { size: 152, entry: 0, dirent: 128 } as const

/** struct fuse_kstatfs, the body of a fuse_statfs_out. */
export const STATFS_OUT = {
  size: 80,
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
} as const

/** struct fuse_init_in; before 7.36 it ended after `flags`. */
export const INIT_IN = { size: 64, oldSize: 16, major: 0, minor: 4, maxReadahead: 8, flags: 12, flags2: 16 } as const

/** struct fuse_init_out. */
export const INIT_OUT = {
  size: 64,
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGran: 24,
  maxPages: 28,
  flags2: 32,
} as const

/** struct fuse_notify_inval_inode_out. */
export const NOTIFY_INVAL_INODE_OUT = { size: 24, ino: 0, off: 8, len: 16 } as const

/** struct fuse_notify_inval_entry_out, before the name and its NUL. */
export const NOTIFY_INVAL_ENTRY_OUT = { size: 16, parent: 0, namelen: 8, flags: 12 } as const
