import { asBuffer } from '../bytes.ts'
import { type CidBytes, cidText, multihashCode, readCid, verifyBlock } from '../cid.ts'
import { DamagedError, MissingBlockError, NixIpfsError } from '../errors.ts'
import { isRaw } from '../unixfs/get-block.ts'
import { decodeNode, type PbNode } from '../unixfs/node.ts'
import type { StoreReader } from './reader.ts'

/** Something that is not as it should be. */
export interface Problem {
  /**
   * A block that is missing or has other bytes; a tree that the index tells differently; a NAR of another hash; a path
   * of whose record the packs have no copy.
   */
  kind: 'block' | 'tree' | 'nar' | 'record'
  cid: CidBytes
  /** Inside the store path; empty for its root. */
  path: string
  why: string
}

/** Loads blocks and hashes them, and gathers what is wrong, so that the check goes on after each problem. */
export class BlockCheck {
  readonly problems: Problem[] = []
  readonly #store: StoreReader
  /** What is wrong with blocks, by multihash: a missing one is waited for once. */
  readonly #bad = new Map<string, NixIpfsError>()
  /** Bad blocks that are named among the problems, alone and with the path inside. */
  readonly #named = new Set<string>()

  constructor(store: StoreReader) {
    this.#store = store
  }

  /** The block, its bytes held against its CID; undefined where that failed, which then is a problem. */
  async load(cid: CidBytes, path: string): Promise<Uint8Array | undefined> {
    return this.guard('block', cid, path, () => this.#load(cid))
  }

  async #load(cid: CidBytes): Promise<Uint8Array> {
    const parts = readCid(cid)
    if (parts === undefined) throw new DamagedError('malformed CID')
    if (parts.multihashCode === multihashCode.identity) return parts.digest
    const key = parts.multihash.toString('latin1')
    const known = this.#bad.get(key)
    if (known !== undefined) throw known
    try {
      const { blocks } = this.#store
      let bytes = blocks.get(parts.multihash)
      if (bytes === undefined) {
        await this.#store.fetch(cid)
        bytes = blocks.get(parts.multihash)
      }
      if (bytes === undefined) throw new MissingBlockError(`block ${cidText(cid)} is not here`)
      verifyBlock(cid, bytes)
      return bytes
    } catch (error) {
      if (error instanceof NixIpfsError) this.#bad.set(key, error)
      throw error
    }
  }

  /**
   * The blocks of one file or folder that have links: from `root` on along the links that `follow` takes, by the text of
   * their CIDs; a raw root too. Those that are bad are left out, and then it is not `whole`.
   */
  async loadNodes(root: CidBytes, path: string, follow: FollowLink) {
    const nodes = new Map<string, Uint8Array>()
    let whole = true
    const queue = [root]
    for (let cid = queue.pop(); cid !== undefined; cid = queue.pop()) {
      const key = cidText(cid)
      if (nodes.has(key)) continue
      const bytes = await this.load(cid, path)
      if (bytes === undefined) whole = false
      else nodes.set(key, bytes)
      if (bytes === undefined || isRaw(cid)) continue
      const node = decodeNode(bytes)
      for (const link of node.links) if (follow(node, link.cid, link.name)) queue.push(link.cid)
    }
    return { get: (cid: CidBytes) => nodes.get(cidText(cid)), whole }
  }

  /** What `check` gives; undefined where it fails, which then is a problem. */
  async guard<T>(
    kind: Problem['kind'],
    cid: CidBytes,
    path: string,
    check: () => T | Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await check()
    } catch (error) {
      if (!(error instanceof NixIpfsError)) throw error
      if (kind !== 'block' || this.#isNews(cid, path)) this.problems.push({ kind, cid, path, why: error.message })
      return undefined
    }
  }

  /** A block that is bad is named once for each file that has it, and for the NAR if no file has it. */
  #isNews(cid: CidBytes, path: string): boolean {
    const key = asBuffer(cid).toString('latin1')
    if (this.#named.has(path === '' ? key : `${key}${path}`)) return false
    this.#named.add(key).add(`${key}${path}`)
    return true
  }
}

/** Which links of a node lead to more of the same file or folder. */
type FollowLink = (node: PbNode, link: CidBytes, name: Uint8Array | undefined) => boolean
