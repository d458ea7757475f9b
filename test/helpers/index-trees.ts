import { createHash } from 'node:crypto'
import { asBuffer } from '../../src/bytes.ts'
import { dagPbCid, rawCid, sha256 } from '../../src/cid.ts'
import type { NodeId, NodeRun, PathCommit, PathRecord, StoreIndex } from '../../src/index/types.ts'
import type { NodeKind } from '../../src/nix/tree.ts'
import type { ChildEntry, Leaf } from '../../src/unixfs/types.ts'

/** Trees without bytes, for tests of the index: what a builder would tell it, with made-up CIDs. */
export type Tree =
  | { kind: 'file'; size: number; executable?: boolean; leaves?: Leaf[]; seed?: string; cid?: Buffer }
  | { kind: 'symlink'; target: string }
  | { kind: 'directory'; entries: [name: Buffer | string, tree: Tree][] }

export const file = (size = 0, seed = ''): Tree => ({ kind: 'file', size, seed })
export const directory = (entries: Record<string, Tree> = {}): Tree => ({
  kind: 'directory',
  entries: Object.entries(entries),
})

/** A node of a tree with the number that it gets. */
export interface Told extends ChildEntry {
  tree: Tree
  children: Told[]
}

/** Tells the run of the tree as a builder does; the tree with its numbers. */
export function tell(run: NodeRun, tree: Tree): Told {
  let next = 0
  const visit = (name: Buffer, tree: Tree): Told => {
    const id = next++
    const told: Told = {
      name,
      id,
      kind: tree.kind,
      executable: false,
      size: 0,
      cid: (tree.kind === 'file' && tree.cid) || madeUpCid(tree, id),
      tree,
      children: [],
    }
    if (tree.kind === 'file') {
      told.size = tree.size
      told.executable = tree.executable === true
      run.file(id, told.executable, tree.size, told.cid, tree.leaves)
    } else if (tree.kind === 'symlink') {
      told.size = Buffer.byteLength(tree.target)
      run.symlink(id, Buffer.from(tree.target))
    } else {
      const named = tree.entries.map(([name, child]) => [Buffer.from(name as string), child] as const)
      named.sort(([a], [b]) => a.compare(b))
      told.children = named.map(([name, child]) => visit(name, child))
      run.directory(id, told.cid, told.children)
    }
    return told
  }
  return visit(Buffer.alloc(0), tree)
}

function madeUpCid(tree: Tree, id: number): Buffer {
  const digest = sha256(Buffer.from(`${tree.kind} ${tree.kind === 'file' ? `${tree.size} ${tree.seed}` : id}`))
  return tree.kind === 'file' && tree.leaves === undefined ? rawCid(digest) : dagPbCid(digest)
}

/** A base name whose hash part depends on the seed alone. */
export function baseNameOf(seed: string | number, name = 'example'): string {
  return `${createHash('sha256').update(`${seed}`).digest('hex').slice(0, 32).replaceAll('e', 'x')}-${name}`
}

export function recordOf(baseName: string, told: Told, entries: number, firstNode: NodeId): PathRecord {
  return {
    baseName,
    root: told.cid,
    kind: told.kind,
    executable: told.executable,
    size: told.size,
    nar: dagPbCid(sha256(Buffer.from(`nar of ${baseName}`))),
    narHash: narHashOf(told),
    narSize: 1000 + entries,
    references: [baseName],
    deriver: undefined,
    ca: undefined,
    signatures: [],
    registrationTime: 1_700_000_000,
    trust: 'local',
    totalSize: 1,
    entries,
    firstNode,
  }
}

/** Differs between trees that differ. */
function narHashOf(told: Told): Buffer {
  const show = ({ name, kind, size, executable, children }: Told): string =>
    `${asBuffer(name).toString('hex')} ${kind} ${size} ${executable} (${children.map(show)})`
  return sha256(Buffer.from(show(told)))
}

export interface AddOptions {
  pin?: PathCommit['pin']
  reused?: Buffer
  /** Changes to the record. */
  record?: Partial<PathRecord>
}

export interface AddedPath {
  record: PathRecord
  told: Told
  outcome: 'added' | 'known'
}

/** Adds a path as an ingest does. */
export function addPath(index: StoreIndex, baseName: string, tree: Tree, options: AddOptions = {}): AddedPath {
  const { commit, told } = stagePath(index, baseName, tree, options)
  const [outcome] = index.commitPaths([commit], options.reused ?? Buffer.alloc(0))
  return { record: commit.record, told, outcome: outcome! }
}

/** Many paths in one commit. */
export function addPaths(index: StoreIndex, trees: readonly (readonly [baseName: string, tree: Tree])[]): PathRecord[] {
  const staged = stagePaths(index, trees)
  index.commitPaths(
    staged.map(({ commit }) => commit),
    Buffer.alloc(0),
  )
  return staged.map(({ commit }) => commit.record)
}

export interface StagedPath {
  commit: PathCommit
  told: Told
}

/** All of {@link addPath} but the commit. */
export function stagePath(index: StoreIndex, baseName: string, tree: Tree, options: AddOptions = {}): StagedPath {
  return stagePaths(index, [[baseName, tree]], options)[0]!
}

function stagePaths(
  index: StoreIndex,
  trees: readonly (readonly [baseName: string, tree: Tree])[],
  options: AddOptions = {},
): StagedPath[] {
  const drafts = trees.map(([baseName, tree]) => {
    const nodes = index.newNodes()
    const told = tell(nodes, tree)
    return { nodes, told, record: { ...recordOf(baseName, told, nodes.entries, 0 as NodeId), ...options.record } }
  })
  const ids = index.assignNodes(drafts.map(({ record }) => record))
  return drafts.map(({ nodes, told, record }, i) => ({
    commit: { record: { ...record, firstNode: ids[i]! }, nodes, pin: options.pin },
    told,
  }))
}

/** What the index has below a node, in the shape of {@link expectedBelow}. */
export function listBelow(index: StoreIndex, id: NodeId): unknown {
  const node = index.node(id)
  if (node === undefined) return 'missing'
  if (node.kind !== 'directory') return node
  const entries = [...index.entries(id, 0)]
  return {
    kind: node.kind,
    cid: node.cid,
    entries: entries.map(({ name, id, kind, executable, size }) => ({
      name: name.toString('latin1'),
      id,
      kind,
      executable,
      size,
      node: listBelow(index, id),
    })),
  }
}

export function expectedBelow(told: Told, firstNode: NodeId): unknown {
  const { tree, cid, executable, size } = told
  if (tree.kind === 'symlink') return { kind: 'symlink' as NodeKind, target: Buffer.from(tree.target) }
  if (tree.kind === 'file') return { kind: 'file', executable, size, cid }
  return {
    kind: 'directory',
    cid,
    entries: told.children.map(child => ({
      name: asBuffer(child.name).toString('latin1'),
      id: firstNode + child.id,
      kind: child.kind,
      executable: child.executable,
      size: child.size,
      node: expectedBelow(child, firstNode),
    })),
  }
}
