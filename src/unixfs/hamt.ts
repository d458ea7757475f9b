import type { BlockWriter } from '../blocks/types.ts'
import { type CidBytes, dagPbCid, sha256 } from '../cid.ts'
import { FormatError, RefusedError } from '../errors.ts'
import { describe, type GetBlock, loadNode } from './get-block.ts'
import { murmur3 } from './murmur3.ts'
import { encodeShardNode, type Link, MURMUR3_CODE, type PbNode } from './node.ts'
import { SHARD_FANOUT } from './profile.ts'

/**
 * Sharded directories: a trie over the murmur3 hash of the names. A node has one link a bucket: an entry (its name
 * after the bucket's number in upper-case hex) or a shard of the next level (the number alone). Level i takes the
 * i-th log2(fanout) bits of the hash. https://specs.ipfs.tech/unixfs/
 */

const HASH_BITS = 64
const MAX_FANOUT = 1024

/** An entry of a directory as its DAG has it. */
export interface DirectoryEntry {
  name: Buffer
  cid: Buffer
  tsize: number | undefined
}

interface Hashed {
  hash: Buffer
  link: Link
}

/**
 * Puts the shards of a directory.
 * @param entries with distinct names, at least one
 * @throws RefusedError where more names than one have the same hash, which no shard can hold
 */
export function writeShards(writer: BlockWriter, entries: readonly Link[]): { cid: Buffer; tsize: number } {
  const hashed = entries.map(link => ({ hash: murmur3(link.name), link }))
  hashed.sort((a, b) => Buffer.compare(a.hash, b.hash))
  return writeShard(writer, hashed, 0, hashed.length, 0)
}

/** The shard of entries[from, to), which agree in the first `level` bytes of their hashes. */
function writeShard(writer: BlockWriter, entries: Hashed[], from: number, to: number, level: number) {
  if (level === HASH_BITS / 8) {
    const names = [entries[from]!, entries[from + 1]!].map(({ link }) => JSON.stringify(String(link.name)))
    throw new RefusedError(`a sharded directory cannot hold both ${names.join(' and ')}: their hashes are equal`)
  }
  const bitfield = Buffer.alloc(SHARD_FANOUT / 8)
  const links: Link[] = []
  let tsize = 0
  for (let start = from; start < to; ) {
    const bucket = entries[start]!.hash[level]!
    let end = start + 1
    while (end < to && entries[end]!.hash[level] === bucket) end++
    const prefix = BUCKET_PREFIXES[bucket]!
    let link: Link
    if (end - start === 1) {
      const entry = entries[start]!.link
      link = { cid: entry.cid, name: Buffer.concat([prefix, entry.name]), tsize: entry.tsize }
    } else {
      const shard = writeShard(writer, entries, start, end, level + 1)
      link = { cid: shard.cid, name: prefix, tsize: shard.tsize }
    }
    links.push(link)
    tsize += link.tsize
    bitfield[bitfield.length - 1 - (bucket >> 3)]! |= 1 << (bucket & 7)
    start = end
  }
  const block = encodeShardNode(links, withoutLeadingZeros(bitfield), SHARD_FANOUT)
  const digest = sha256(block)
  writer.put(digest, block)
  return { cid: dagPbCid(digest), tsize: tsize + block.length }
}

const BUCKET_PREFIXES = Array.from({ length: SHARD_FANOUT }, (_, bucket) =>
  Buffer.from(bucket.toString(16).toUpperCase().padStart(2, '0')),
)

function withoutLeadingZeros(bytes: Buffer): Buffer {
  let start = 0
  while (start < bytes.length && bytes[start] === 0) start++
  return bytes.subarray(start)
}

/** A decoded shard whose links were found to agree with its bitfield. */
interface Shard {
  cid: CidBytes
  /** Bits of the hash that a level takes. */
  bits: number
  /** Characters of a bucket's number in a link's name. */
  prefixLength: number
  buckets: number[]
  node: PbNode
}

/**
 * Entries of a sharded directory, in the order of their hashes. Each is checked to lie where its name's hash says, so
 * no name comes twice, and the walk takes no more steps than the entries found allow.
 * @param node the decoded root
 * @throws MissingBlockError, FormatError
 */
export function* listShards(get: GetBlock, cid: CidBytes, node: PbNode): Generator<DirectoryEntry> {
  const stack = [{ shard: readShard(cid, node, true), next: 0 }]
  while (stack.length > 0) {
    const top = stack[stack.length - 1]!
    if (top.next === top.shard.buckets.length) {
      stack.pop()
      continue
    }
    const { shard } = top
    const link = shard.node.links[top.next++]!
    const name = link.name!.subarray(shard.prefixLength)
    if (name.length === 0) {
      const child = childShard(get, shard, link.cid, stack.length)
      stack.push({ shard: child, next: 0 })
      continue
    }
    const hash = murmur3(name)
    for (let level = 0; level < stack.length; level++) {
      const frame = stack[level]!
      if (frame.shard.buckets[frame.next - 1] !== bucketOf(hash, level, frame.shard.bits)) {
        throw new FormatError(`shard ${describe(shard.cid)} has an entry in the wrong bucket`)
      }
    }
    yield { name, cid: link.cid, tsize: link.tsize }
  }
}

/** The entry of that name, or `undefined`. Loads one block a level. */
export function lookupInShards(
  get: GetBlock,
  cid: CidBytes,
  node: PbNode,
  name: Uint8Array,
): DirectoryEntry | undefined {
  const hash = murmur3(name)
  let shard = readShard(cid, node, true)
  for (let level = 0; ; level++) {
    const link = shard.node.links[shard.buckets.indexOf(bucketOf(hash, level, shard.bits))]
    if (link === undefined) return undefined
    const found = link.name!.subarray(shard.prefixLength)
    if (found.length > 0) {
      return found.equals(name) ? { name: found, cid: link.cid, tsize: link.tsize } : undefined
    }
    shard = childShard(get, shard, link.cid, level + 1)
  }
}

function childShard(get: GetBlock, parent: Shard, cid: CidBytes, level: number): Shard {
  if ((level + 1) * parent.bits > HASH_BITS) {
    throw new FormatError(`shard ${describe(parent.cid)} lies deeper than the hash has bits`)
  }
  const child = readShard(cid, loadNode(get, cid), false)
  if (child.bits !== parent.bits) throw new FormatError(`shard ${describe(cid)} has another fanout than its parent`)
  return child
}

function readShard(cid: CidBytes, node: PbNode, root: boolean): Shard {
  const fail = (why: string): never => {
    throw new FormatError(`shard ${describe(cid)} ${why}`)
  }
  const { data, links } = node
  if (data?.type !== 'hamt-shard') return fail('is no shard')
  if (data.hashType !== MURMUR3_CODE) fail('has an unknown hash function')
  const fanout = data.fanout ?? 0
  if (fanout < 8 || fanout > MAX_FANOUT || (fanout & (fanout - 1)) !== 0) fail(`has a fanout of ${fanout}`)
  // An empty shard below the root would let a small DAG describe an endless walk.
  if (links.length === 0 && !root) fail('is empty')
  const bitfield = data.data ?? Buffer.alloc(0)
  if (bitfield.length > fanout / 8) fail('has a bitfield longer than its fanout')
  const prefixLength = (fanout - 1).toString(16).length
  const buckets: number[] = []
  for (let i = bitfield.length - 1, first = 0; i >= 0; i--, first += 8) {
    for (let bit = 0; bit < 8; bit++) if ((bitfield[i]! >> bit) & 1) buckets.push(first + bit)
  }
  if (buckets.length !== links.length) fail('has a bitfield that does not fit its links')
  for (let i = 0; i < links.length; i++) {
    if (prefixOf(links[i]!.name, prefixLength) !== buckets[i]) fail('has a misplaced link')
  }
  return { cid, bits: Math.log2(fanout), prefixLength, buckets, node }
}

/** The bucket's number that starts a link's name: upper-case hex of that many characters. */
function prefixOf(name: Buffer | undefined, length: number): number | undefined {
  if (name === undefined || name.length < length) return undefined
  let value = 0
  for (let i = 0; i < length; i++) {
    const character = name[i]!
    const digit = character <= 0x39 ? character - 0x30 : character >= 0x41 ? character - 0x37 : -1
    if (digit < 0 || digit > 15) return undefined
    value = value * 16 + digit
  }
  return value
}

/** `bits` (3 to 10) bits of the hash, the first at level 0. */
function bucketOf(hash: Buffer, level: number, bits: number): number {
  const start = level * bits
  const byte = start >> 3
  // At most 7 bits before them in the first byte, so 17 bits of three bytes.
  const window = (hash[byte]! << 16) | ((hash[byte + 1] ?? 0) << 8) | (hash[byte + 2] ?? 0)
  return (window >> (24 - (start & 7) - bits)) & ((1 << bits) - 1)
}
