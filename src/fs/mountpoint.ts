import { execFile } from 'node:child_process'
import { accessSync, constants, mkdirSync, readdirSync, realpathSync, statfsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { MissingToolError, MountError, systemCode } from '../errors.ts'
import { isOurs, mountAt } from './mountinfo.ts'

const exec = promisify(execFile)

/**
 * Makes a folder ready to be mounted on and returns its path without symlinks: creates it where it is missing, takes away a mount of ours that a crash left
 * dead. Throws MountError where it is in use, not a directory, not empty, or not ours to mount on; MissingToolError
 * without a usable /dev/fuse. `given` is absolute.
 */
export async function prepareMountpoint(given: string): Promise<string> {
  checkDevice()
  const wanted = canonical(given)
  await clearDeadMount(wanted)
  try {
    mkdirSync(wanted, { recursive: true, mode: 0o755 })
  } catch (cause) {
    const why =
      systemCode(cause) === 'EEXIST' || systemCode(cause) === 'ENOTDIR'
        ? 'is not a directory'
        : `cannot be made (${systemCode(cause)})`
    throw new MountError(`${wanted}: ${why}; name another mount point`, { cause })
  }
  const path = realpathSync(wanted)
  const mounted = mountAt(path)
  if (mounted !== undefined) {
    const what = isOurs(mounted)
      ? 'nix-ipfs-mount is mounted there already'
      : `is in use: a ${mounted.type} filesystem is mounted there`
    throw new MountError(`${path}: ${what}; unmount it first or name another mount point`)
  }
  try {
    // Root may mount anywhere, on a read-only filesystem too; fusermount asks others for a folder they may write to.
    if (process.getuid?.() !== 0) accessSync(path, constants.W_OK | constants.X_OK)
    if (readdirSync(path).length > 0) throw new MountError(`${path}: is not empty; name another mount point`)
  } catch (cause) {
    if (cause instanceof MountError) throw cause
    throw new MountError(`${path}: no right to mount there (${systemCode(cause)}); it must be yours and writable`, {
      cause,
    })
  }
  return path
}

/** As mountinfo shows it. The last component is left alone: a dead mount cannot be asked what it is. */
function canonical(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path))
  } catch {
    return path
  }
}

function checkDevice(): void {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch (cause) {
    const why =
      systemCode(cause) === 'ENOENT'
        ? 'does not exist: load the kernel module fuse (modprobe fuse) and install the package fuse3'
        : 'cannot be opened: it must be readable and writable for you (mode 0666, as the package fuse3 sets it)'
    throw new MissingToolError(`/dev/fuse ${why}`, { cause })
  }
}

/** A FUSE mount whose server is gone answers ENOTCONN to everything. */
async function clearDeadMount(path: string): Promise<void> {
  try {
    // statfs is never answered from the kernel's cache, as stat of the root is.
    statfsSync(path)
  } catch (cause) {
    // The second where it died while it was asked.
    if (!['ENOTCONN', 'ECONNABORTED'].includes(systemCode(cause) ?? '')) return
    const mounted = mountAt(path)
    if (mounted !== undefined && !isOurs(mounted)) {
      throw new MountError(`${path}: a dead ${mounted.type} mount that is not ours is there; unmount it first`, {
        cause,
      })
    }
    await lazyUnmount(path)
  }
}

/**
 * Takes the mount out of the tree now, also while it is in use: open files go on until they are closed or the server
 * ends. Throws MountError. Nothing happens where nothing is mounted.
 */
export async function lazyUnmount(path: string): Promise<void> {
  // umount(8) as root needs no helper; others may only ask the setuid fusermount.
  const [command, args] =
    process.getuid?.() === 0 ? ['umount', ['-l', '--', path]] : ['fusermount3', ['-u', '-z', '--', path]]
  try {
    await exec(command as string, args as string[])
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT')
      throw new MissingToolError(`${command} is missing; install the package fuse3`, { cause })
    if (mountAt(path) === undefined) return
    const said = String((cause as { stderr?: unknown }).stderr ?? cause)
      .trim()
      .split('\n')
      .at(-1)
    throw new MountError(`${path}: cannot be unmounted: ${said}`, { cause })
  }
}
