import { errno } from '../errno.ts'
import { FUSE, OPCODES } from './constants.ts'
import { GETXATTR_IN, INTERRUPT_IN, READ_IN } from './layouts.ts'

/** What the dispatcher computes an answer for. */
export type Computed =
  | 'lookup'
  | 'getattr'
  | 'readlink'
  | 'read'
  | 'readdir'
  | 'readdirplus'
  | 'statfs'
  | 'getxattr'
  | 'listxattr'

/** What is done with a request: an answer that is computed, the same errno always (0 is success), or no answer. */
export type Decision = Computed | { errno: number } | 'silence'

export interface Operation {
  name: keyof typeof FUSE
  /** The least bytes that its body has; a shorter one is malformed. */
  body: number
  decision: Decision
}

/**
 * One row an opcode. ENOSYS where the kernel shall stop asking for as long as the mount lives: it then opens files and
 * folders by itself, keeps what it has read of them, and never asks about access, extended attributes, holes or birth
 * times. EROFS to all that would change something. INIT and INTERRUPT are the session's, and never come here.
 */
const rows: Operation[] = [
  { name: 'LOOKUP', body: 2, decision: 'lookup' },
  { name: 'GETATTR', body: 0, decision: 'getattr' },
  { name: 'READLINK', body: 0, decision: 'readlink' },
  { name: 'READ', body: READ_IN.size, decision: 'read' },
  { name: 'READDIR', body: READ_IN.size, decision: 'readdir' },
  { name: 'READDIRPLUS', body: READ_IN.size, decision: 'readdirplus' },
  { name: 'STATFS', body: 0, decision: 'statfs' },
  { name: 'GETXATTR', body: GETXATTR_IN.size + 2, decision: 'getxattr' },
  { name: 'LISTXATTR', body: GETXATTR_IN.size, decision: 'listxattr' },
  // Node ids are for ever, so nothing is counted.
  { name: 'FORGET', body: 0, decision: 'silence' },
  { name: 'BATCH_FORGET', body: 0, decision: 'silence' },
  { name: 'NOTIFY_REPLY', body: 0, decision: 'silence' },
  { name: 'INTERRUPT', body: INTERRUPT_IN.size, decision: 'silence' },
  { name: 'RELEASE', body: 0, decision: { errno: 0 } },
  { name: 'RELEASEDIR', body: 0, decision: { errno: 0 } },
  { name: 'DESTROY', body: 0, decision: { errno: 0 } },
  ...same({ errno: errno.ENOSYS }, ['OPEN', 'OPENDIR', 'FLUSH', 'FSYNC', 'FSYNCDIR', 'ACCESS', 'LSEEK', 'STATX']),
  ...same({ errno: errno.ENOSYS }, ['IOCTL', 'POLL', 'BMAP', 'GETLK', 'SETLK', 'SETLKW', 'SYNCFS', 'INIT']),
  ...same({ errno: errno.ENOSYS }, ['SETUPMAPPING', 'REMOVEMAPPING']),
  ...same({ errno: errno.EROFS }, ['SETATTR', 'SYMLINK', 'MKNOD', 'MKDIR', 'UNLINK', 'RMDIR', 'RENAME', 'RENAME2']),
  ...same({ errno: errno.EROFS }, ['LINK', 'WRITE', 'SETXATTR', 'REMOVEXATTR', 'CREATE', 'TMPFILE', 'FALLOCATE']),
  ...same({ errno: errno.EROFS }, ['COPY_FILE_RANGE', 'COPY_FILE_RANGE_64']),
]

function same(decision: Decision, names: readonly (keyof typeof FUSE)[]): Operation[] {
  return names.map(name => ({ name, body: 0, decision }))
}

/** By opcode; undefined where there is no such opcode. Throws where a row is missing or there are two. */
export const operations: readonly (Operation | undefined)[] = byOpcode(rows)

function byOpcode(all: readonly Operation[]): (Operation | undefined)[] {
  const table: (Operation | undefined)[] = Array(OPCODES).fill(undefined)
  for (const row of all) {
    if (table[FUSE[row.name]] !== undefined) throw new Error(`two answers to ${row.name}`)
    table[FUSE[row.name]] = row
  }
  for (const [name, opcode] of Object.entries(FUSE)) if (table[opcode] === undefined) throw new Error(`none to ${name}`)
  return table
}

/** The name of an opcode, for messages and counters. */
export function operationName(opcode: number): string {
  return operations[opcode]?.name ?? `opcode ${opcode}`
}
