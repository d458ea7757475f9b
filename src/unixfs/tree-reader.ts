import type { CidBytes } from '../cid.ts'
import { FormatError } from '../errors.ts'
import { EMPTY_NAME, MAX_DEPTH, MAX_TARGET_BYTES, type TreeSink } from '../nix/tree.ts'
import { isDirectory, listNode } from './directory.ts'
import { describe, type GetBlock, isRaw, loadBlock, loadNode } from './get-block.ts'
import type { DirectoryEntry } from './hamt.ts'
import { type FileRoot, fileRoot, fileSlices, isFile, loadFile } from './leaf-table.ts'
import type { PbNode } from './node.ts'

/** Owner's execute permission: the one bit that Nix keeps of a mode. */
const OWNER_EXECUTE = 0o100

/** What lies at a CID, by its block alone. */
export type TreeNode =
  | { kind: 'file'; executable: boolean; size: number; file: FileRoot }
  | { kind: 'symlink'; target: Buffer }
  | { kind: 'directory'; node: PbNode }

/**
 * Loads a node of a UnixFS tree: its one block, no child.
 * @throws MissingBlockError; FormatError where the block is nothing that Nix has
 */
export function loadTreeNode(get: GetBlock, cid: CidBytes): TreeNode {
  if (isRaw(cid)) {
    const file = loadFile(get, cid)
    return { kind: 'file', executable: false, size: file.size, file }
  }
  const node = loadNode(get, cid)
  if (isDirectory(node)) return { kind: 'directory', node }
  if (isFile(node)) {
    const file = fileRoot(cid, node)
    return { kind: 'file', executable: ((file.mode ?? 0) & OWNER_EXECUTE) !== 0, size: file.size, file }
  }
  if (node.data?.type === 'symlink') return { kind: 'symlink', target: symlinkTarget(cid, node) }
  throw new FormatError(`${describe(cid)} is neither a file, a directory nor a symlink`)
}

function symlinkTarget(cid: CidBytes, node: PbNode): Buffer {
  const target = node.data?.data
  if (target === undefined || target.length === 0 || target.length > MAX_TARGET_BYTES || target.includes(0)) {
    throw new FormatError(`symlink ${describe(cid)} has a target that no symlink can have`)
  }
  return target
}

/**
 * Tells a tree to the sink, in NAR order and with what Nix keeps of it: contents, targets and the executable bit.
 * Loads each block when it is its turn, and takes memory in the depth of the tree, not in its size.
 * @throws MissingBlockError, FormatError, and what the sink throws
 */
export function emitTree(get: GetBlock, root: CidBytes, sink: TreeSink): void {
  // Entries that are still to come, the next one last.
  const stack: DirectoryEntry[][] = []
  const emit = (cid: CidBytes, name: Uint8Array): void => {
    const node = loadTreeNode(get, cid)
    if (node.kind === 'directory') {
      if (stack.length === MAX_DEPTH) throw new FormatError(`directories nested over ${MAX_DEPTH} levels deep`)
      sink.directory(name)
      stack.push(listNode(get, cid, node.node).reverse())
    } else if (node.kind === 'symlink') {
      sink.symlink(name, node.target)
    } else {
      sink.file(name, node.executable, node.size)
      emitContents(get, node.file, sink)
      sink.endFile()
    }
  }
  emit(root, EMPTY_NAME)
  while (stack.length > 0) {
    const entry = stack[stack.length - 1]!.pop()
    if (entry !== undefined) {
      emit(entry.cid, entry.name)
    } else {
      stack.pop()
      sink.endDirectory()
    }
  }
}

function emitContents(get: GetBlock, file: FileRoot, sink: TreeSink): void {
  for (const { cid, start, length } of fileSlices(get, file, 0, file.size)) {
    const block = loadBlock(get, cid)
    // A leaf of another length than its parent says would shift everything after it.
    if (isRaw(cid) && block.length !== length) {
      throw new FormatError(`leaf ${describe(cid)} has ${block.length} bytes, not the ${length} its parent says`)
    }
    sink.contents(block.subarray(start, start + length))
  }
}
