import type { NodeId } from '../../index/types.ts'
import { NOTIFY } from './constants.ts'
import { NOTIFY_INVAL_ENTRY_OUT, NOTIFY_INVAL_INODE_OUT, OUT_HEADER } from './layouts.ts'

/**
 * Messages to the kernel that answer no request: struct fuse_out_header with unique 0 and the code in the place of the
 * error, then the code's own struct. INVAL_ENTRY and INVAL_INODE take locks that a request may hold while it waits for
 * its answer, so they must not be written by a thread that answers requests.
 */

/** Drops a name from a directory. */
export function invalidateEntry(parent: NodeId, name: Uint8Array): Buffer {
  const out = NOTIFY_INVAL_ENTRY_OUT
  const [message, body] = notification(NOTIFY.INVAL_ENTRY, out.size + name.length + 1)
  message.writeBigUInt64LE(BigInt(parent), body + out.parent)
  message.writeUInt32LE(name.length, body + out.namelen)
  message.set(name, body + out.size)
  return message
}

/** Drops a node's cached contents, which for a directory are its listing. */
export function invalidateInode(node: NodeId): Buffer {
  const out = NOTIFY_INVAL_INODE_OUT
  const [message, body] = notification(NOTIFY.INVAL_INODE, out.size)
  message.writeBigUInt64LE(BigInt(node), body + out.ino)
  return message
}

/** Makes every request that was taken and not answered pending again. Linux 6.9 and newer. */
export function resend(): Buffer {
  return notification(NOTIFY.RESEND, 0)[0]
}

function notification(code: number, bodyBytes: number): [message: Buffer, body: number] {
  const message = Buffer.alloc(OUT_HEADER.size + bodyBytes)
  message.writeUInt32LE(message.length, OUT_HEADER.len)
  message.writeInt32LE(code, OUT_HEADER.error)
  return [message, OUT_HEADER.size]
}
