import type { NodeKind } from '../../nix/tree.ts'
import type { ListedEntry } from '../types.ts'
import { DT } from './constants.ts'
import { DIRENT, DIRENTPLUS } from './layouts.ts'
import type { ReplyBuffer } from './reply.ts'

/**
 * Answers to READDIR and READDIRPLUS. An entry's `off` is where a later request goes on: after it. 1 and 2 are those of
 * `.` and `..`, which no tree has; the others are the entries' cookies behind them.
 */
const DOTS = [Buffer.from('.'), Buffer.from('..')]

const types: Record<NodeKind, number> = { directory: DT.DIR, file: DT.REG, symlink: DT.LNK }

/** The cookie to list from, for a request that wants to go on at `offset`, which may be any number of 64 bits. */
export function cookieAt(offset: number): number {
  return Math.min(Math.max(0, offset - DOTS.length), Number.MAX_SAFE_INTEGER)
}

/**
 * Packs entries at `at`, as many as go whole into `limit` bytes, and gives the number of bytes; 0 says that the listing
 * has ended, undefined that there is no room for the next entry. `listed` are the entries from {@link cookieAt} of
 * `offset` on. `directory` is the listed node.
 */
export function packEntries(
  reply: ReplyBuffer,
  at: number,
  limit: number,
  directory: number,
  offset: number,
  listed: Iterable<ListedEntry>,
  plus: boolean,
): number | undefined {
  const prefix = plus ? DIRENTPLUS.dirent : 0
  let used = 0
  for (let dot = offset; dot < DOTS.length; dot++) {
    const name = DOTS[dot]!
    const size = prefix + direntBytes(name.length)
    if (used + size > limit) return used || undefined
    // A node of 0 says that no attributes come with the name.
    if (plus) reply.bytes.fill(0, at + used, at + used + prefix)
    dirent(reply, at + used + prefix, directory, dot + 1, DT.DIR, name)
    used += size
  }
  for (const { entry, cookie } of listed) {
    const size = prefix + direntBytes(entry.name.length)
    if (used + size > limit) return used || undefined
    if (plus) reply.entry(at + used, entry)
    dirent(reply, at + used + prefix, entry.id, cookie + DOTS.length, types[entry.kind], entry.name)
    used += size
  }
  return used
}

function direntBytes(nameLength: number): number {
  return (DIRENT.size + nameLength + 7) & ~7
}

function dirent(reply: ReplyBuffer, at: number, ino: number, off: number, type: number, name: Buffer): void {
  const { bytes } = reply
  reply.u64(at + DIRENT.ino, ino)
  reply.u64(at + DIRENT.off, off)
  reply.u32(at + DIRENT.namelen, name.length)
  reply.u32(at + DIRENT.type, type)
  const start = at + DIRENT.size
  for (let i = 0; i < name.length; i++) bytes[start + i] = name[i]!
  bytes.fill(0, start + name.length, at + direntBytes(name.length))
}
