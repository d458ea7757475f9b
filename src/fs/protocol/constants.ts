/** Numbers of the FUSE protocol under the kernel's names, from include/uapi/linux/fuse.h. */

/** FUSE_KERNEL_VERSION. */
export const FUSE_MAJOR = 7
/** The newest minor version whose changes are known here; answers of all later kernels are taken at this one. */
export const FUSE_MINOR = 45
/** struct fuse_init_out has had its size since this minor version (Linux 3.15). */
export const OLDEST_MINOR = 23

/** Opcodes; CUSE_INIT (4096) and what kernels byte-swapped are never sent to a filesystem. */
export const FUSE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const

/** Opcodes are below this. */
export const OPCODES = 64

/** Flags of INIT below bit 32: `flags` of fuse_init_in and fuse_init_out. */
export const INIT_FLAGS = {
  FUSE_ASYNC_READ: 1 << 0,
  FUSE_BIG_WRITES: 1 << 5,
  FUSE_DO_READDIRPLUS: 1 << 13,
  FUSE_PARALLEL_DIROPS: 1 << 18,
  /** 7.28 */
  FUSE_MAX_PAGES: 1 << 22,
  /** 7.28 */
  FUSE_CACHE_SYMLINKS: 1 << 23,
  /** 7.30 */
  FUSE_EXPLICIT_INVAL_DATA: 1 << 25,
  /** 7.36; without it `flags2` counts for nothing. */
  FUSE_INIT_EXT: 1 << 30,
} as const

/** Flags of INIT from bit 32 on, as they stand in `flags2`. */
export const INIT_FLAGS2 = {
  /** 7.40, bit 38: file handles need not be decoded, which an overlay above would try through LOOKUP. */
  FUSE_NO_EXPORT_SUPPORT: 1 << 6,
} as const

/** Codes of notifications, in the place of a reply's error. */
export const NOTIFY = {
  INVAL_INODE: 2,
  INVAL_ENTRY: 3,
  /** 7.40, Linux 6.9 */
  RESEND: 7,
} as const

/** d_type of a directory entry, from dirent.h. */
export const DT = { DIR: 4, REG: 8, LNK: 10 } as const
