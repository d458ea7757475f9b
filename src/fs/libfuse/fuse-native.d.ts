/** The parts of fuse-native 2.2 that the driver uses; the package has no types of its own. */
declare module 'fuse-native' {
  /** The answer: 0 or a negative errno, a count where the operation gives one, then the operation's results. */
  type Answer<T extends unknown[] = []> = (result: number, ...values: Partial<T>) => void

  interface FuseStat {
    mode: number
    uid: number
    gid: number
    size: number
    nlink: number
    /** 32 bits. */
    ino: number
    blksize: number
    blocks: number
    /** Milliseconds. */
    atime: number
    mtime: number
    ctime: number
  }

  interface FuseStatfs {
    bsize: number
    frsize: number
    blocks: number
    bfree: number
    bavail: number
    files: number
    ffree: number
    favail: number
    fsid: number
    flag: number
    namemax: number
  }

  interface Operations {
    getattr(path: string, cb: Answer<[FuseStat]>): void
    fgetattr(path: string, fd: number, cb: Answer<[FuseStat]>): void
    readlink(path: string, cb: Answer<[string]>): void
    readdir(path: string, cb: Answer<[string[], FuseStat[]]>): void
    open(path: string, flags: number, cb: Answer<[number]>): void
    read(path: string, fd: number, buffer: Buffer, length: number, position: number, cb: Answer): void
    statfs(path: string, cb: Answer<[FuseStatfs]>): void
    [operation: string]: (...args: never[]) => void
  }

  interface Options {
    timeout: false
    /** Goes into libfuse's option string as it is. */
    fsname: string
    subtype: string
    kernelCache: boolean
    defaultPermissions: boolean
    allowOther: boolean
    maxRead: number
    entryTimeout: number
    attrTimeout: number
  }

  export default class Fuse {
    constructor(mountpoint: string, operations: Operations, options: Options)
    mount(cb: (error?: Error | null) => void): void
  }
}
