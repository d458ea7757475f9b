import type { BlockWriter } from '../blocks/types.ts'
import { type CidBytes, dagPbCid, sha256 } from '../cid.ts'
import { FormatError } from '../errors.ts'
import { MAX_NAME_BYTES } from '../nix/tree.ts'
import { describe, type GetBlock, isRaw, loadNode } from './get-block.ts'
import { type DirectoryEntry, listShards, lookupInShards, writeShards } from './hamt.ts'
import { directoryNodeLength, encodeDirectoryNode, type Link, type PbNode } from './node.ts'
import { MAX_FLAT_DIRECTORY_BYTES } from './profile.ts'

/**
 * Puts a directory: one node, or shards where that node would be too large.
 * @param entries sorted bytewise by name, without duplicates
 * @throws RefusedError where a sharded directory cannot hold two of the names
 */
export function writeDirectory(writer: BlockWriter, entries: readonly Link[]): { cid: Buffer; tsize: number } {
  if (directoryNodeLength(entries) > MAX_FLAT_DIRECTORY_BYTES) return writeShards(writer, entries)
  const block = encodeDirectoryNode(entries)
  const digest = sha256(block)
  writer.put(digest, block)
  let tsize = block.length
  for (const entry of entries) tsize += entry.tsize
  return { cid: dagPbCid(digest), tsize }
}

/** True where the node is a directory, flat or the root of a sharded one. */
export function isDirectory(node: PbNode): boolean {
  return node.data?.type === 'directory' || node.data?.type === 'hamt-shard'
}

/**
 * All entries of a directory of either form, sorted bytewise by name. Of entries with the same name the first one
 * in the DAG counts, as UnixFS has it.
 * @throws MissingBlockError; FormatError where it is no directory, or holds a name that no file can have
 */
export function listDirectory(get: GetBlock, cid: CidBytes): DirectoryEntry[] {
  return listNode(get, cid, loadDirectory(get, cid))
}

/** {@link listDirectory} of a node that is already decoded. */
export function listNode(get: GetBlock, cid: CidBytes, node: PbNode): DirectoryEntry[] {
  const entries = node.data?.type === 'hamt-shard' ? [...listShards(get, cid, node)] : flatEntries(cid, node)
  for (const { name } of entries) checkName(cid, name)
  let sorted = true
  for (let i = 1; sorted && i < entries.length; i++) {
    sorted = Buffer.compare(entries[i - 1]!.name, entries[i]!.name) < 0
  }
  if (sorted) return entries
  // The sort is stable, so that the first of duplicates stays the first.
  entries.sort((a, b) => Buffer.compare(a.name, b.name))
  return entries.filter(({ name }, i) => i === 0 || !name.equals(entries[i - 1]!.name))
}

/**
 * The entry of that name, or `undefined` where the directory has none.
 * @throws MissingBlockError; FormatError where it is no directory
 */
export function lookupInDirectory(get: GetBlock, cid: CidBytes, name: Uint8Array): DirectoryEntry | undefined {
  const node = loadDirectory(get, cid)
  if (node.data?.type === 'hamt-shard') return name.length === 0 ? undefined : lookupInShards(get, cid, node, name)
  const link = node.links.find(link => link.name?.equals(name))
  return link?.name === undefined ? undefined : { name: link.name, cid: link.cid, tsize: link.tsize }
}

function loadDirectory(get: GetBlock, cid: CidBytes): PbNode {
  const node = isRaw(cid) ? undefined : loadNode(get, cid)
  if (node === undefined || !isDirectory(node)) throw new FormatError(`${describe(cid)} is not a directory`)
  return node
}

function flatEntries(cid: CidBytes, node: PbNode): DirectoryEntry[] {
  return node.links.map(({ cid: child, name, tsize }) => {
    if (name === undefined) throw new FormatError(`directory ${describe(cid)} has an entry without a name`)
    return { name, cid: child, tsize }
  })
}

const SLASH = 0x2f
const DOT = 0x2e

function checkName(cid: CidBytes, name: Buffer): void {
  const dots = name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT))
  if (name.length === 0 || name.length > MAX_NAME_BYTES || dots || name.includes(SLASH) || name.includes(0)) {
    const shown = JSON.stringify(name.toString('latin1', 0, MAX_NAME_BYTES))
    throw new FormatError(`directory ${describe(cid)} has an entry named ${shown}, which no file can be`)
  }
}
