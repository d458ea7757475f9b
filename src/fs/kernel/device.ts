import { spawn } from 'node:child_process'
import { openSync, writeFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { MissingToolError, MountError, systemCode } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import { FUSE_SUBTYPE, mountAt } from '../mountinfo.ts'
import { MAX_READ } from '../protocol/init.ts'

const DEVICE = '/dev/fuse'

/** KiB that the kernel reads ahead in a file; what it comes with, 128, cuts reads to an eighth of what they can be. */
const READ_AHEAD_KB = 4096

/** mount.fuse(8), Documentation/filesystems/fuse.rst of the kernel. The descriptor's number is that in mount(8). */
const options = [
  `subtype=${FUSE_SUBTYPE}`,
  'fd=3',
  'rootmode=40000',
  'user_id=0',
  'group_id=0',
  'allow_other',
  'default_permissions',
  'ro',
  'nosuid',
  'nodev',
  `max_read=${MAX_READ}`,
].join(',')

/** A connection of its own; nobody can read it before it is mounted. Throws MissingToolError. */
export function openDevice(): number {
  try {
    return openSync(DEVICE, 'r+')
  } catch (cause) {
    throw new MissingToolError(`${DEVICE}: cannot be opened (${systemCode(cause)})`, { cause })
  }
}

/**
 * Mounts the FUSE device by mount(8), as root; the descriptor is inherited. Returns before anybody answers: the
 * kernel's first question waits. Throws MountError, MissingToolError.
 */
export async function mountDevice(fd: number, mountpoint: string): Promise<void> {
  // -i: no helper. mount.fuse3 would take the subtype for a program and start it.
  const args = ['-i', '-t', 'fuse', '-o', options, FUSE_SUBTYPE, mountpoint]
  const child = spawn('mount', args, { stdio: ['ignore', 'ignore', 'pipe', fd] })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', cause =>
      reject(
        systemCode(cause) === 'ENOENT'
          ? new MissingToolError('mount is missing; install the package mount', { cause })
          : cause,
      ),
    )
    child.once('exit', resolve)
  })
  const [status, said] = await Promise.all([ended, text(child.stderr!)])
  if (status === 0) return
  throw new MountError(`${mountpoint}: cannot be mounted: ${said.trim().split('\n')[0] || `mount: status ${status}`}`)
}

/** Lets the kernel read ahead in large pieces: INIT can only lower what it does by itself. For a mount that answers. */
export function setReadAhead(mountpoint: string, log: Logger): void {
  try {
    writeFileSync(`/sys/class/bdi/${mountAt(mountpoint)?.device}/read_ahead_kb`, `${READ_AHEAD_KB}`)
  } catch (error) {
    // In a container /sys may be read-only: large files are then read in smaller pieces.
    log.debug(`${mountpoint}: the kernel reads ahead no more than it does by itself (${systemCode(error)})`)
  }
}
