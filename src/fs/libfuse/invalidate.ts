import { readdirSync, readlinkSync, write } from 'node:fs'
import { ROOT_NODE } from '../../index/types.ts'
import { invalidateEntry } from '../protocol/notify.ts'

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
  write(fd, invalidateEntry(ROOT_NODE, Buffer.from(name)), error => {
    // ENOENT: the kernel does not know the name, which is what was wanted.
    if (error !== null && error.code !== 'ENOENT') failed(error)
  })
}
