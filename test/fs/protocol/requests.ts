import type { NodeId } from '../../../src/index/types.ts'
import {
  batchForget,
  forget,
  getattr,
  getxattr,
  init,
  interrupt,
  listxattr,
  lookup,
  read,
  readdir,
  readlink,
  statfs,
} from '../../helpers/synthetic-kernel.ts'

/** Nodes of trees.ts. */
export interface KnownNodes {
  tree: NodeId
  file: NodeId
  link: NodeId
}

/** A well-formed request of every kind whose answer is not always the same, by what it is. */
export function goodRequests({ tree, file, link }: KnownNodes): Record<string, Buffer> {
  return {
    LOOKUP: lookup(tree, 'hello'),
    'LOOKUP at the root': lookup(1, '.links'),
    FORGET: forget(file, 3n),
    BATCH_FORGET: batchForget([tree, file, link]),
    GETATTR: getattr(file),
    READLINK: readlink(link),
    READ: read(file, 100, 65536),
    READDIR: readdir(tree, 0, 4096, false),
    READDIRPLUS: readdir(tree, 0, 4096, true),
    'READDIR of the root': readdir(1, 0, 4096, false),
    STATFS: statfs(),
    GETXATTR: getxattr(file, 'ipfs.cid', 256),
    LISTXATTR: listxattr(file, 256),
    INTERRUPT: interrupt(4n),
    INIT: init({ minor: 45, flags: 0x73fffffb, flags2: 0x5fd }),
  }
}
