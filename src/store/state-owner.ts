import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  realpathSync,
  type Stats,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { StateError, systemCode } from '../errors.ts'
import { prepareStateFolder } from './state.ts'

/** Whom a state belongs to. */
export interface StateOwner {
  name: string
  uid: number
  gid: number
}

const ROOT = 0
/** inode(7): in such a folder only its owner and a file's may rename and remove the file. */
const STICKY = 0o1000

/**
 * Sees to it, as root, that a state folder belongs to this user: one that is missing is made, its parents by root; one
 * that root owns is handed over with all that is in it, which `true` reports where it was a state before. Where root
 * is to own it nothing is made.
 * @throws StateError where it belongs to somebody else, is no state, or cannot be made or handed over safely
 */
export function giveStateTo(owner: StateOwner, folder: string): boolean {
  const current = statOf(folder)?.uid
  if (current !== undefined && current !== owner.uid && current !== ROOT) throw belongsTo(folder, current, owner)
  if (current === owner.uid) return false
  if (owner.uid === ROOT) return false
  checkPlace(folder)
  prepareStateFolder(folder)
  try {
    return handOver(folder, owner)
  } catch (cause) {
    // Nobody can write to a read-only filesystem; commands that read still may.
    if (systemCode(cause) === 'EROFS') return false
    if (cause instanceof StateError) throw cause
    throw new StateError(
      `${folder}: cannot be handed over to ${owner.name} (${systemCode(cause) ?? cause}); use --user root to leave it`,
      { cause },
    )
  }
}

function belongsTo(folder: string, uid: number, owner: StateOwner): StateError {
  return new StateError(
    `${folder}: belongs to user id ${uid}, not to ${owner.name}; use --user ${uid} to work with it, or another --state`,
  )
}

/** Undefined where there is none; what else may be wrong with it is said by whoever opens it. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path)
  } catch {
    return undefined
  }
}

/**
 * Nobody but root must be able to put another folder, or a link to one, where this one is. What is missing is made by
 * root.
 */
function checkPlace(folder: string): void {
  for (const path of new Set([...foldersAbove(folder), ...foldersAbove(resolved(folder))])) {
    const stat = statOf(path)
    if (stat === undefined) continue
    const sticky = (stat.mode & STICKY) !== 0
    if (stat.uid !== ROOT || (isOpenToOthers(stat) && !sticky))
      throw new StateError(
        `${folder}: others may write to ${path}, so no state is made or handed over there; name another folder with --state, or use --user root`,
      )
  }
}

function resolved(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

function foldersAbove(path: string): string[] {
  const above = dirname(path)
  return above === path ? [] : [above, ...foldersAbove(above)]
}

/** Whether others than root may make and remove what is in a folder of root's. */
function isOpenToOthers({ mode, gid }: Stats): boolean {
  return (mode & (gid === ROOT ? 0o002 : 0o022)) !== 0
}

/**
 * Changes the owner of a folder of root's and of all in it, the folder last, so that one that was cut short is done
 * again. What is below may be the new owner's already, who then may be an enemy that puts other files in the place of
 * those just looked at: every change is made to an open file that was looked at after it was opened, and nothing is
 * reached but by the descriptor of the folder it is in. Nothing is changed before everything was looked at. True where
 * it is a state already.
 */
function handOver(folder: string, owner: StateOwner): boolean {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    const stat = fstatSync(fd)
    if (stat.uid !== ROOT) throw new StateError(`${folder}: was replaced while it was handed over`)
    if (isOpenToOthers(stat))
      throw new StateError(`${folder}: others may write into it, so it is not handed over; run chmod go-w on it`)
    // Of the very folder that is open.
    const { isState } = prepareStateFolder(throughFd(fd))
    for (const change of [false, true]) walk(fd, folder, { owner, dev: stat.dev, change })
    fchownSync(fd, owner.uid, owner.gid)
    return isState
  } finally {
    closeSync(fd)
  }
}

interface Walk {
  owner: StateOwner
  /** The filesystem that is not left. */
  dev: number
  change: boolean
}

function walk(folder: number, shown: string, options: Walk): void {
  for (const name of readdirSync(throughFd(folder))) {
    const path = join(shown, name)
    const fd = openInside(folder, name, path)
    if (fd === undefined) continue
    try {
      check(fd, path, options)
      if (fstatSync(fd).isDirectory()) walk(fd, path, options)
      if (options.change) fchownSync(fd, options.owner.uid, options.owner.gid)
    } finally {
      closeSync(fd)
    }
  }
}

/** proc_pid_fd(5): what Node has in place of openat(2). */
function throughFd(fd: number): string {
  return `/proc/self/fd/${fd}`
}

/** Undefined for what is there no more. */
function openInside(folder: number, name: string, shown: string): number | undefined {
  const path = join(throughFd(folder), name)
  try {
    // Merely opening a device may do something.
    const stat = lstatSync(path)
    if (!stat.isFile() && !stat.isDirectory()) throw unsafe(shown, 'is neither a file nor a folder')
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined
    if (systemCode(cause) === 'ELOOP') throw unsafe(shown, 'is neither a file nor a folder')
    throw cause
  }
}

function check(fd: number, shown: string, { owner, dev }: Walk): void {
  const stat = fstatSync(fd)
  if (!stat.isFile() && !stat.isDirectory()) throw unsafe(shown, 'is neither a file nor a folder')
  if (stat.isFile() && stat.nlink > 1) throw unsafe(shown, 'is a hard link')
  if (stat.dev !== dev) throw unsafe(shown, 'lies on another filesystem')
  if (stat.uid !== ROOT && stat.uid !== owner.uid) throw unsafe(shown, `belongs to user id ${stat.uid}`)
}

function unsafe(path: string, why: string): StateError {
  return new StateError(
    `${path}: ${why}, so the state is not handed over; take that away, or keep it as root's with --user root`,
  )
}
