import type { CidBytes } from '../cid.ts'
import { UsageError } from '../errors.ts'
import type { NodeId } from './types.ts'

/**
 * Every key of the index is built here. Numbers in keys are big-endian, so that LMDB's bytewise order is theirs.
 *
 * | database | key | value |
 * |---|---|---|
 * | meta | a name of {@link metaKeys} | a number |
 * | paths | base name | path record |
 * | roots | first node id | base name |
 * | blocks | whole multihash | place in the packs |
 * | contents | CID of a file, u32 page | page of its leaf table |
 * | nodes | kind of row, node id (, u32 page) | node record, page of a directory, page index |
 * | forgotten | base name | node ids that a forgotten path had |
 * | pins | base name, NUL, name of the pin | expiry |
 * | packs | pack number | owner |
 */
export const databaseNames = [
  'meta',
  'paths',
  'roots',
  'blocks',
  'contents',
  'nodes',
  'forgotten',
  'pins',
  'packs',
] as const
export type DatabaseName = (typeof databaseNames)[number]

export const metaKeys = {
  schema: Buffer.from('schema'),
  /** Random part of this state's node ids. */
  epoch: Buffer.from('epoch'),
  /** Counter part of the next node id. */
  nodes: Buffer.from('nodes'),
  /** Pack number given out last. */
  packs: Buffer.from('packs'),
  /** Counts the commits that added or removed a path. */
  generation: Buffer.from('generation'),
  /** Counts the transactions that removed blocks. */
  removals: Buffer.from('removals'),
} as const
export type MetaKey = keyof typeof metaKeys

/** What a row of `nodes` is about: the first byte of its key. */
export const nodeRow = { record: 0x6e, page: 0x70, pageIndex: 0x69 } as const
export type NodeRow = (typeof nodeRow)[keyof typeof nodeRow]

/** LMDB's limit is 1978 bytes. */
const MAX_CID_BYTES = 1024
const MAX_PIN_NAME_BYTES = 1024

const NODE_KEY_BYTES = 9
const PAGE_KEY_BYTES = 13

// LMDB copies a key at once, so a key that is built again and again can live in one place.
const nodeScratch = Buffer.alloc(NODE_KEY_BYTES)
const pageScratch = Buffer.alloc(PAGE_KEY_BYTES)

/** Key of a node record or a page index. Valid until the next call. */
export function nodeKey(row: NodeRow, id: number): Buffer {
  nodeScratch[0] = row
  writeU64(nodeScratch, id, 1)
  return nodeScratch
}

/** Key of a page of a directory's entries. Valid until the next call. */
export function pageKey(id: number, page: number): Buffer {
  pageScratch[0] = nodeRow.page
  writeU64(pageScratch, id, 1)
  pageScratch.writeUInt32BE(page, NODE_KEY_BYTES)
  return pageScratch
}

/** Base names are ASCII; what is not must not be taken for one, so it is not cut to bytes. */
export function pathKey(baseName: string): Buffer {
  return Buffer.from(baseName, 'utf8')
}

export function rootKey(firstNode: NodeId): Buffer {
  return writeU64(Buffer.allocUnsafe(8), firstNode, 0)
}

export function rootOfKey(key: Buffer): NodeId {
  return (key.readUInt32BE(0) * 0x100000000 + key.readUInt32BE(4)) as NodeId
}

export function packKey(pack: number): Buffer {
  return writeU64(Buffer.allocUnsafe(8), pack, 0)
}

export function packOfKey(key: Buffer): number {
  return rootOfKey(key)
}

export function contentsKey(file: CidBytes, page: number): Buffer {
  if (file.length > MAX_CID_BYTES) throw new RangeError(`CID of ${file.length} bytes`)
  const key = Buffer.allocUnsafe(file.length + 4)
  key.set(file)
  key.writeUInt32BE(page, file.length)
  return key
}

export function pinKey(baseName: string, name: string): Buffer {
  const nameBytes = Buffer.from(name, 'utf8')
  if (nameBytes.length > MAX_PIN_NAME_BYTES || nameBytes.includes(0)) {
    throw new UsageError(`${JSON.stringify(name)} cannot name a pin: at most ${MAX_PIN_NAME_BYTES} bytes, without NUL`)
  }
  return Buffer.concat([pinPrefix(baseName), nameBytes])
}

/** What the keys of all pins of a path start with. */
export function pinPrefix(baseName: string): Buffer {
  return Buffer.from(`${baseName}\0`, 'utf8')
}

/** The least key above all that start with `prefix`, whose last byte is below 255. */
export function afterPrefix(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix)
  end[end.length - 1]! += 1
  return end
}

export function pinOfKey(key: Buffer): { baseName: string; name: string } | undefined {
  const end = key.indexOf(0)
  if (end < 0) return undefined
  return { baseName: key.toString('latin1', 0, end), name: key.toString('utf8', end + 1) }
}

function writeU64(target: Buffer, value: number, at: number): Buffer {
  target.writeUInt32BE(Math.floor(value / 0x100000000), at)
  target.writeUInt32BE(value % 0x100000000, at + 4)
  return target
}
