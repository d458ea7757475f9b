import { bytesToText } from '../bytes.ts'
import { type CidBytes, cidText, dagPbCid, sha256 } from '../cid.ts'
import { DamagedError } from '../errors.ts'
import type { NodeEntry, NodeRecord, PathRecord } from '../index/types.ts'
import { listDirectory } from '../unixfs/directory.ts'
import { type GetBlock, isRaw } from '../unixfs/get-block.ts'
import { fileLeaves } from '../unixfs/leaf-table.ts'
import { encodeSymlinkNode, type PbNode } from '../unixfs/node.ts'
import { loadTreeNode } from '../unixfs/tree-reader.ts'
import { BlockCheck, type Problem } from './block-check.ts'
import type { StoreReader } from './reader.ts'
import { checkNar, checkNarNodes } from './verify-nar.ts'

/**
 * Checks all there is of a path: every block against its CID, the tree against the index, and the NAR, both as the
 * index renders it and as the NAR DAG holds it, against the narHash. Goes on after each problem: where a block is bad
 * the index says what lies below it, and where the index is, the blocks do. An empty result means that all is well.
 * Memory is that of the largest folder, and of the problems. `unrecorded` names paths whose record the packs lack.
 */
export async function verifyPath(
  store: StoreReader,
  record: PathRecord,
  unrecorded: ReadonlySet<string> = new Set(),
): Promise<Problem[]> {
  const check = new BlockCheck(store)
  await new TreeCheck(store, record, check).run()
  const { problems } = check
  // A tree that the index tells differently has another NAR, and nodes that never were.
  if (problems.every(({ kind }) => kind === 'block'))
    await check.guard('nar', record.root, '', () => checkNar(store, record, check))
  else if (record.nar !== undefined) await checkNarNodes(record.nar, check)
  if (unrecorded.has(record.baseName))
    problems.push({ kind: 'record', cid: record.root, path: '', why: 'no pack has a copy of its record that counts' })
  return problems
}

/** One place in a tree, as the blocks and as the index name it: both but where one of them is damaged above. */
interface Place {
  path: string
  entry: NodeEntry | undefined
  cid: CidBytes | undefined
}

class TreeCheck {
  readonly #store: StoreReader
  readonly #record: PathRecord
  readonly #check: BlockCheck

  constructor(store: StoreReader, record: PathRecord, check: BlockCheck) {
    this.#store = store
    this.#record = record
    this.#check = check
  }

  async run(): Promise<void> {
    const { root } = this.#record
    const { problems } = this.#check
    await this.#check.guard('tree', root, '', () => this.#checkListed())
    const stack: Place[] = [{ entry: this.#store.rootEntry(this.#record), cid: root, path: '' }]
    let entries = 0
    let bytes = 0
    for (let place = stack.pop(); place !== undefined; place = stack.pop()) {
      entries++
      if (place.entry?.kind === 'file') bytes += place.entry.size
      const { entry, cid, path } = place
      const node = entry && (await this.#check.guard('tree', cid ?? root, path, () => this.#nodeOf(entry, cid)))
      const at = cid ?? (node && cidOf(node))
      if (at === undefined) continue
      const below = await this.#check.guard('tree', at, path, () => this.#visit(at, path, entry, node))
      for (const place of below ?? []) stack.push(place)
    }
    if (problems.length === 0) await this.#check.guard('tree', root, '', () => this.#checkTotals(entries, bytes))
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

  /** What the index has at a place. */
  #nodeOf(entry: NodeEntry, cid: CidBytes | undefined): NodeRecord {
    const node = this.#store.node(entry.id)
    checkAttributes(entry, node)
    if (cid !== undefined && Buffer.compare(cidOf(node), cid) !== 0)
      throw new DamagedError(`the index has it as ${cidText(cidOf(node))}`)
    return node
  }

  /** Checks the blocks of one node, and them against the index's word where there is any; what lies below it. */
  async #visit(cid: CidBytes, path: string, entry: NodeEntry | undefined, node: NodeRecord | undefined) {
    const { get, whole } = await this.#check.loadNodes(cid, path, isPart)
    const there = whole || get(cid) !== undefined ? loadTreeNode(get, cid) : undefined
    const kind = there?.kind ?? node?.kind
    if (kind === 'directory') {
      const listed = whole ? listDirectory(get, cid) : undefined
      const known = entry && node && (await this.#check.guard('tree', cid, path, () => this.#entries(entry)))
      if (listed !== undefined && known !== undefined)
        await this.#check.guard('tree', cid, path, () => this.#compareEntries(entry!, listed, known))
      return places(path, listed, known)
    }
    if (kind === 'file') await this.#leaves(cid, path, whole ? get : undefined, node)
    if (there !== undefined && node !== undefined) compareNode(there, node)
    return []
  }

  #entries(entry: NodeEntry): NodeEntry[] {
    return [...this.#store.index.entries(entry.id, 0)]
  }

  #compareEntries(entry: NodeEntry, listed: readonly { name: Buffer }[], known: readonly NodeEntry[]): void {
    if (listed.length !== known.length)
      throw new DamagedError(`the index has ${known.length} entries of ${listed.length}`)
    for (const [i, { name }] of listed.entries()) {
      const there = known[i]!
      if (!name.equals(there.name))
        throw new DamagedError(`the index has ${bytesToText(there.name)} in the place of ${bytesToText(name)}`)
      if (this.#store.index.lookup(entry.id, name)?.id !== there.id)
        throw new DamagedError(`the index lists ${bytesToText(name)} and does not find it`)
    }
  }

  /** Every leaf of a file, as its own nodes name them, or the index where these are bad. */
  async #leaves(file: CidBytes, path: string, get: GetBlock | undefined, node: NodeRecord | undefined): Promise<void> {
    const size = node?.kind === 'file' ? node.size : 0
    const known = await this.#check.guard('tree', file, path, () => this.#store.index.leaves(file, size, 0, size))
    const leaves = get === undefined ? (known ?? []) : fileLeaves(get, file)
    let number = 0
    let same = true
    for (const { cid, start, length } of leaves) {
      const listed = known?.[number++]
      same &&=
        listed !== undefined &&
        Buffer.compare(listed.cid, cid) === 0 &&
        listed.start === start &&
        listed.length === length
      // A raw root, and a leaf within a node, were hashed with the nodes.
      const bytes =
        isRaw(cid) && (get === undefined || Buffer.compare(cid, file) !== 0)
          ? await this.#check.load(cid, path)
          : undefined
      if (bytes === undefined || bytes.length === length) continue
      await this.#check.guard('tree', cid, path, () => {
        throw new DamagedError(`has ${bytes.length} bytes, not ${length}`)
      })
    }
    if (node !== undefined && known !== undefined && (!same || number !== known.length))
      throw new DamagedError(`the index has it as ${known.length} leaves that are not its ${number}`)
  }
}

/** What lies in a folder, each as both or one of them name it. */
function places(
  path: string,
  listed: readonly { name: Buffer; cid: CidBytes }[] | undefined,
  known: readonly NodeEntry[] | undefined,
): Place[] {
  const below = (name: Buffer) => (path === '' ? bytesToText(name) : `${path}/${bytesToText(name)}`)
  if (listed === undefined) return (known ?? []).map(entry => ({ entry, cid: undefined, path: below(entry.name) }))
  const entries = new Map(known?.map(entry => [entry.name.toString('latin1'), entry]))
  return listed.map(({ name, cid }) => ({ entry: entries.get(name.toString('latin1')), cid, path: below(name) }))
}

function cidOf(node: NodeRecord): CidBytes {
  return node.kind === 'symlink' ? dagPbCid(sha256(encodeSymlinkNode(node.target))) : node.cid
}

function compareNode(there: ReturnType<typeof loadTreeNode>, node: NodeRecord): void {
  if (there.kind !== node.kind) throw new DamagedError(`the index has it as a ${node.kind}, it is a ${there.kind}`)
  if (there.kind !== 'file' || node.kind !== 'file') return
  if (there.size !== node.size || there.executable !== node.executable)
    throw new DamagedError(`the index has it as a file of ${node.size} bytes${node.executable ? ', executable' : ''}`)
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

/** Links to more of the same file or folder: parts of a file, shards of a folder. */
function isPart(node: PbNode, link: CidBytes, name: Uint8Array | undefined): boolean {
  const { type, fanout } = node.data ?? {}
  if (isRaw(link)) return false
  if (type !== 'hamt-shard') return type !== 'directory'
  // Links to shards have the bucket's number for a name; entries have more.
  return fanout !== undefined && name?.length === (fanout - 1).toString(16).length
}
