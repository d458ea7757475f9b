import { readdirSync, readlinkSync, write } from 'node:fs'

/** FUSE_NOTIFY_INVAL_ENTRY of linux/fuse.h. */
const NOTIFY_INVAL_ENTRY = 3
const FUSE_ROOT_ID = 1
const OUT_HEADER_BYTES = 16

/**
 * Descriptors of /dev/fuse that this process has open. libfuse 2 keeps its own to itself, but a notification may be
 * written to it by anybody who holds it.
 */
export function fuseDescriptors(): Set<number> {
  const found = new Set<number>()
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) === '/dev/fuse') found.add(Number(name))
    } catch {
      // The descriptor that readdir itself used is closed by now.
    }
  }
  return found
}

/**
 * Makes the kernel drop a name below the mount's root. Asynchronous, in a thread of its own: the kernel takes the
 * directory's lock for it, which a request that waits for this very thread may hold.
 */
export function invalidateRootEntry(fd: number, name: string, failed: (error: Error) => void): void {
  write(fd, rootEntryNotification(name), error => {
    // ENOENT: the kernel does not know the name, which is what was wanted.
    if (error !== null && error.code !== 'ENOENT') failed(error)
  })
}

/** struct fuse_out_header {len, error = code, unique = 0}, struct fuse_notify_inval_entry_out, name, NUL. */
export function rootEntryNotification(name: string): Buffer {
  const bytes = Buffer.from(name, 'utf8')
  const message = Buffer.alloc(OUT_HEADER_BYTES + 16 + bytes.length + 1)
  message.writeUInt32LE(message.length, 0)
  message.writeInt32LE(NOTIFY_INVAL_ENTRY, 4)
  message.writeBigUInt64LE(BigInt(FUSE_ROOT_ID), 16)
  message.writeUInt32LE(bytes.length, 24)
  bytes.copy(message, 32)
  return message
}
