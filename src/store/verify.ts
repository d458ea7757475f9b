import { createHash } from 'node:crypto'
import { bytesToText } from '../bytes.ts'
import { type CidBytes, cidText, multihashCode, readCid, verifyBlock } from '../cid.ts'
import { DamagedError, MissingBlockError, NixIpfsError } from '../errors.ts'
import type { NodeEntry, NodeRecord, PathRecord } from '../index/types.ts'
import { narHashText } from '../nix/hash.ts'
import { listDirectory } from '../unixfs/directory.ts'
import { isRaw } from '../unixfs/get-block.ts'
import { fileLeaves } from '../unixfs/leaf-table.ts'
import { decodeNode, type PbNode } from '../unixfs/node.ts'
import { loadTreeNode } from '../unixfs/tree-reader.ts'
import { narChunks } from './nar-source.ts'
import type { StoreReader } from './reader.ts'

/** Something that is not as it should be. */
export interface Problem {
  /** A block that is missing or has other bytes; a tree that the index tells differently; a NAR of another hash. */
  kind: 'block' | 'tree' | 'nar'
  cid: CidBytes
  /** Inside the store path; empty for its root. */
  path: string
  why: string
}

/**
 * Checks all there is of a path: every block against its CID, the tree against the index, and the NAR, both as the
 * index renders it and as the NAR DAG holds it, against the narHash. An empty result means that all is well.
 */
export async function verifyPath(store: StoreReader, record: PathRecord): Promise<Problem[]> {
  const check = new PathCheck(store, record)
  await check.tree()
  // A NAR with broken parts has the wrong hash anyway.
  if (check.problems.length === 0) await check.renderedNar()
  if (check.problems.length === 0 && record.nar !== undefined) await check.narDag(record.nar)
  return check.problems
}

class PathCheck {
  readonly problems: Problem[] = []
  readonly #store: StoreReader
  readonly #record: PathRecord
  /** Multihashes of the blocks that were hashed already. */
  readonly #verified = new Set<string>()

  constructor(store: StoreReader, record: PathRecord) {
    this.#store = store
    this.#record = record
  }

  async tree(): Promise<void> {
    const { root } = this.#record
    await this.#guard('tree', root, '', async () => this.#checkListed())
    const stack: { entry: NodeEntry; cid: CidBytes; path: string }[] = [
      { entry: this.#store.rootEntry(this.#record), cid: root, path: '' },
    ]
    let entries = 0
    let bytes = 0
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      const { entry, cid, path } = top
      entries++
      if (entry.kind === 'file') bytes += entry.size
      await this.#guard('tree', cid, path, async () => {
        const node = this.#store.node(entry.id)
        if (node.kind !== 'symlink' && Buffer.compare(node.cid, cid) !== 0) {
          throw new DamagedError(`the index has it as ${cidText(node.cid)}`)
        }
        checkAttributes(entry, node)
        if (node.kind === 'directory') stack.push(...(await this.#directory(entry, cid, path)))
        else await this.#leafNode(node, cid, path)
      })
    }
    if (this.problems.length === 0) await this.#guard('tree', root, '', async () => this.#checkTotals(entries, bytes))
  }

  /** That a listing of the mount's root finds the path. */
  #checkListed(): void {
    const { baseName, firstNode } = this.#record
    const listed = this.#store.index.pathOfNode(firstNode)?.baseName
    if (listed !== baseName) throw new DamagedError(`the index has ${listed ?? 'nothing'} at its node ${firstNode}`)
  }

  #checkTotals(entries: number, bytes: number): void {
    const { entries: known, totalSize } = this.#record
    if (entries === known && bytes === totalSize) return
    throw new DamagedError(
      `its record has ${known} entries of ${totalSize} bytes, the tree ${entries} of ${bytes} bytes`,
    )
  }

  /** Compares a folder's own blocks with the index; its entries, to be checked next. */
  async #directory(entry: NodeEntry, cid: CidBytes, path: string) {
    const nodes = await this.#loadNodes(cid, isShardLink)
    const listed = listDirectory(block => nodes.get(cidText(block)), cid)
    const known = [...this.#store.index.entries(entry.id, 0)]
    if (listed.length !== known.length)
      throw new DamagedError(`the index has ${known.length} entries of ${listed.length}`)
    return listed.map(({ name, cid: child }, i) => {
      const there = known[i]!
      if (!name.equals(there.name))
        throw new DamagedError(`the index has ${bytesToText(there.name)} in the place of ${bytesToText(name)}`)
      if (this.#store.index.lookup(entry.id, name)?.id !== there.id)
        throw new DamagedError(`the index lists ${bytesToText(name)} and does not find it`)
      return { entry: there, cid: child, path: path === '' ? bytesToText(name) : `${path}/${bytesToText(name)}` }
    })
  }

  async #leafNode(node: Exclude<NodeRecord, { kind: 'directory' }>, cid: CidBytes, path: string): Promise<void> {
    const nodes = await this.#loadNodes(cid, (_, link) => !isRaw(link))
    const get = (block: CidBytes) => nodes.get(cidText(block))
    const there = loadTreeNode(get, cid)
    if (node.kind === 'symlink') {
      if (there.kind !== 'symlink' || !there.target.equals(node.target))
        throw new DamagedError('the index has it as a symlink with another target')
      return
    }
    if (there.kind !== 'file' || there.size !== node.size || there.executable !== node.executable) {
      throw new DamagedError(`the index has it as a file of ${node.size} bytes${node.executable ? ', executable' : ''}`)
    }
    const known = this.#store.index.leaves(node.cid, node.size, 0, node.size)
    let leaf = 0
    for (const { cid: block, start, length } of fileLeaves(get, cid)) {
      const listed = known[leaf++]
      if (
        listed === undefined ||
        Buffer.compare(listed.cid, block) !== 0 ||
        listed.start !== start ||
        listed.length !== length
      ) {
        throw new DamagedError(`leaf ${leaf} is not the one that the index has`)
      }
      await this.#guard('tree', block, path, async () => {
        const bytes = await this.#load(block)
        if (isRaw(block) && bytes.length !== length) throw new DamagedError(`has ${bytes.length} bytes, not ${length}`)
      })
    }
    if (leaf !== known.length) throw new DamagedError(`the index has ${known.length} leaves of ${leaf}`)
  }

  /** The dag-pb nodes of one file or folder, by the text of their CIDs; a raw root too. */
  async #loadNodes(root: CidBytes, follow: (node: PbNode, link: CidBytes, name: Uint8Array | undefined) => boolean) {
    const nodes = new Map<string, Uint8Array>()
    const queue = [root]
    for (let cid = queue.pop(); cid !== undefined; cid = queue.pop()) {
      const key = cidText(cid)
      if (nodes.has(key)) continue
      const bytes = await this.#load(cid)
      nodes.set(key, bytes)
      if (isRaw(cid)) continue
      const node = decodeNode(bytes)
      for (const link of node.links) if (follow(node, link.cid, link.name)) queue.push(link.cid)
    }
    return nodes
  }

  async renderedNar(): Promise<void> {
    await this.#guard('nar', this.#record.root, '', async () => {
      const hash = createHash('sha256')
      let size = 0
      for await (const bytes of narChunks(this.#store, this.#record)) {
        hash.update(bytes)
        size += bytes.length
      }
      this.#compare(hash.digest())
      const { narSize } = this.#record
      if (size !== narSize) throw new DamagedError(`the NAR has ${size} bytes, not ${narSize}`)
    })
  }

  async narDag(root: CidBytes): Promise<void> {
    await this.#guard('nar', root, '', async () => {
      const hash = createHash('sha256')
      const stack: CidBytes[] = [root]
      for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) {
        const bytes = await this.#load(cid)
        if (isRaw(cid)) hash.update(bytes)
        else for (const link of decodeNode(bytes).links.toReversed()) stack.push(link.cid)
      }
      this.#compare(hash.digest())
    })
  }

  #compare(narHash: Buffer): void {
    if (narHash.equals(this.#record.narHash)) return
    throw new DamagedError(`the NAR has narHash ${narHashText(narHash)}, not ${narHashText(this.#record.narHash)}`)
  }

  /** The block, hashed once. Throws BadBlock. */
  async #load(cid: CidBytes): Promise<Uint8Array> {
    try {
      return await this.#loadVerified(cid)
    } catch (error) {
      throw error instanceof NixIpfsError ? new BadBlock(cid, error) : error
    }
  }

  async #loadVerified(cid: CidBytes): Promise<Uint8Array> {
    const parts = readCid(cid)
    if (parts === undefined) throw new DamagedError('malformed CID')
    if (parts.multihashCode === multihashCode.identity) return parts.digest
    let bytes = this.#store.blocks.get(parts.multihash)
    if (bytes === undefined) {
      await this.#store.fetch(cid)
      bytes = this.#store.blocks.get(parts.multihash)
    }
    if (bytes === undefined) throw new MissingBlockError(`block ${cidText(cid)} is not here`)
    const key = parts.multihash.toString('latin1')
    if (!this.#verified.has(key)) verifyBlock(cid, bytes)
    this.#verified.add(key)
    return bytes
  }

  async #guard(kind: 'tree' | 'nar', cid: CidBytes, path: string, check: () => Promise<void>): Promise<void> {
    try {
      await check()
    } catch (error) {
      if (error instanceof BadBlock)
        this.problems.push({ kind: 'block', cid: error.cid, path, why: error.reason.message })
      else if (error instanceof NixIpfsError) this.problems.push({ kind, cid, path, why: error.message })
      else throw error
    }
  }
}

/** A block that could not be had as it should be. */
class BadBlock extends Error {
  readonly cid: CidBytes
  readonly reason: NixIpfsError

  constructor(cid: CidBytes, reason: NixIpfsError) {
    super(reason.message)
    this.cid = cid
    this.reason = reason
  }
}

/** A folder's page, or the path's record, repeats what the node's own row says. */
function checkAttributes({ kind, executable, size }: NodeEntry, node: NodeRecord): void {
  const same =
    kind === node.kind &&
    executable === (node.kind === 'file' && node.executable) &&
    size === (node.kind === 'file' ? node.size : node.kind === 'symlink' ? node.target.length : 0)
  if (!same)
    throw new DamagedError(`the index lists it as a ${kind} of ${size} bytes${executable ? ', executable' : ''}`)
}

/** Links to shards of a directory have the bucket's number for a name; entries have more. */
function isShardLink(node: PbNode, link: CidBytes, name: Uint8Array | undefined): boolean {
  const { type, fanout } = node.data ?? {}
  if (type !== 'hamt-shard' || fanout === undefined || isRaw(link)) return false
  return name?.length === (fanout - 1).toString(16).length
}
