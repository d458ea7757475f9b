import type { CidBytes } from '../cid.ts'
import { FormatError } from '../errors.ts'
import { describe, type GetBlock, isRaw, loadBlock, loadNode } from './get-block.ts'
import type { PbNode } from './node.ts'
import type { Leaf } from './types.ts'

/** Files nested deeper are refused; a balanced DAG of 2^53 bytes has 5 levels. */
const MAX_FILE_DEPTH = 32

/** Part of a leaf: `length` bytes, which start at `start` in block `cid` and at `offset` in the file. */
export interface LeafSlice extends Leaf {
  offset: number
}

/**
 * The slices of `leaves` that cover [offset, offset + length) of the file, in order and without gaps; fewer bytes
 * where the file ends before. Takes time in the number of leaves.
 */
export function coverLeaves(leaves: Iterable<Leaf>, offset: number, length: number): LeafSlice[] {
  const end = offset + length
  const slices: LeafSlice[] = []
  let at = 0
  for (const leaf of leaves) {
    if (at >= end) break
    const slice = sliceOf(leaf, at, offset, end)
    if (slice !== undefined) slices.push(slice)
    at += leaf.length
  }
  return slices
}

/** The part of a leaf that lies in [from, to), if any; the leaf starts at `at`. */
function sliceOf(leaf: Leaf, at: number, from: number, to: number): LeafSlice | undefined {
  const first = Math.max(at, from)
  const last = Math.min(at + leaf.length, to)
  if (first >= last) return undefined
  return { cid: leaf.cid, start: leaf.start + (first - at), offset: first, length: last - first }
}

/** What the root of a file says of it. */
export interface FileRoot {
  cid: CidBytes
  /** Undefined for a raw block, which is itself the only leaf. */
  node: PbNode | undefined
  size: number
  /** UnixFS mode, if the root has one. */
  mode: number | undefined
}

/** True where the node is a file, or part of one. */
export function isFile(node: PbNode): boolean {
  return node.data?.type === 'file' || node.data?.type === 'raw'
}

/**
 * Reads the root of a file.
 * @throws MissingBlockError; FormatError where it is no file
 */
export function loadFile(get: GetBlock, cid: CidBytes): FileRoot {
  if (isRaw(cid)) return { cid, node: undefined, size: loadBlock(get, cid).length, mode: undefined }
  return fileRoot(cid, loadNode(get, cid))
}

/** {@link loadFile} of a dag-pb node that is already decoded. */
export function fileRoot(cid: CidBytes, node: PbNode): FileRoot {
  if (!isFile(node)) throw new FormatError(`${describe(cid)} is not a file`)
  return { cid, node, size: nodeSize(node), mode: node.data!.mode }
}

/**
 * The leaves of a file of any UnixFS layout, in order. Loads interior nodes as it comes to them, and no raw leaf but a
 * root, whose length nothing else tells. Each node is checked to have the size that its parent gives it; leaves of no
 * bytes are left out.
 * @throws MissingBlockError, FormatError
 */
export function* fileLeaves(get: GetBlock, cid: CidBytes): Generator<Leaf> {
  for (const { cid: leaf, start, length } of fileSlices(get, loadFile(get, cid), 0, Number.POSITIVE_INFINITY)) {
    yield { cid: leaf, start, length }
  }
}

/**
 * The slices of a file's leaves that cover [offset, offset + length), in order; fewer bytes where the file ends before.
 * Of the interior nodes it loads those that lie above the range, and no raw leaf.
 * @throws MissingBlockError, FormatError
 */
export function* fileSlices(get: GetBlock, file: FileRoot, offset: number, length: number): Generator<LeafSlice> {
  const end = Math.min(offset + length, file.size)
  if (file.node === undefined) {
    const slice = sliceOf({ cid: file.cid, start: 0, length: file.size }, 0, offset, end)
    if (slice !== undefined) yield slice
    return
  }
  const stack: Frame[] = [{ cid: file.cid, node: file.node, next: -1, at: 0 }]
  while (stack.length > 0) {
    const top = stack[stack.length - 1]!
    if (top.next === top.node.links.length || top.at >= end) {
      stack.pop()
      continue
    }
    const part = nextPart(top)
    // A part of no bytes is not followed: many links to one would make a small DAG an endless walk.
    if (part.length === 0 || part.at + part.length <= offset) continue
    if (part.leaf) {
      const slice = sliceOf(part, part.at, offset, end)
      if (slice !== undefined) yield slice
      continue
    }
    if (stack.length === MAX_FILE_DEPTH) throw new FormatError(`file ${describe(file.cid)} is nested too deeply`)
    stack.push({ cid: part.cid, node: loadPart(get, part.cid, part.length), next: -1, at: part.at })
  }
}

/** A node whose parts are being walked. */
interface Frame {
  cid: CidBytes
  node: PbNode
  /** The link that comes next; -1 for the node's own data, which comes before them. */
  next: number
  /** Offset in the file of what comes next. */
  at: number
}

/** The next part of a node: its own data, a raw leaf, or a node of its own. */
function nextPart(frame: Frame): Leaf & { at: number; leaf: boolean } {
  const data = frame.node.data!
  const link = frame.node.links[frame.next]
  const at = frame.at
  const length = link === undefined ? (data.data?.length ?? 0) : data.blockSizes[frame.next]!
  frame.next++
  frame.at += length
  if (link === undefined) return { cid: frame.cid, start: data.dataStart, length, at, leaf: true }
  return { cid: link.cid, start: 0, length, at, leaf: isRaw(link.cid) }
}

function loadPart(get: GetBlock, cid: CidBytes, size: number): PbNode {
  const node = loadNode(get, cid)
  if (!isFile(node)) throw new FormatError(`${describe(cid)} is not a part of a file`)
  if (nodeSize(node) !== size) {
    throw new FormatError(`${describe(cid)} has ${nodeSize(node)} bytes of a file, not the ${size} its parent says`)
  }
  return node
}

/** Content bytes below a node. */
function nodeSize(node: PbNode): number {
  let size = node.data!.data?.length ?? 0
  for (const part of node.data!.blockSizes) size += part
  return size
}
