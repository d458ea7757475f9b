import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { EMPTY_NAME, type TreeSink } from '../../src/nix/tree.ts'

/** A whole store object in memory, for tests. */
export type TreeSpec =
  | { kind: 'directory'; entries: TreeEntry[] }
  | { kind: 'file'; executable: boolean; contents: Buffer }
  | { kind: 'symlink'; target: Buffer }

export interface TreeEntry {
  name: Buffer
  node: TreeSpec
}

export interface RandomTreeOptions {
  /** Nodes at most, the root included; 60 if not given. */
  entries?: number
  /** Of one file; most are far smaller. 20,000 if not given. */
  maxFileBytes?: number
  /** Levels of directories at most; 12 if not given. */
  maxDepth?: number
  /** Whether some files are executable; they are unless told otherwise. */
  executables?: boolean
  /** Names of any bytes but / and NUL instead of letters only; so unless told otherwise. */
  weirdNames?: boolean
  /** Whether there are symlinks; there are unless told otherwise. */
  symlinks?: boolean
  /** What the root is; a directory unless told otherwise. */
  root?: TreeSpec['kind']
}

/** Numbers from 0 up to, but without, 1, the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A tree of everything that a store path can hold, the same for the same seed. Entries are sorted. */
export function randomTree(seed: number, options: RandomTreeOptions = {}): TreeSpec {
  const { entries = 60, maxDepth = 12, root = 'directory', symlinks = true } = options
  const random = seededRandom(seed)
  let left = entries - 1

  const make = (kind: TreeSpec['kind'], depth: number): TreeSpec => {
    if (kind === 'file') return randomFile(random, options)
    if (kind === 'symlink') return { kind, target: randomBytes(random, 1 + randomLength(random, 200, 4094), 1) }
    const children = new Map<string, TreeEntry>()
    // Few children each, so that trees are deep, but for the odd large directory.
    const wanted = random() < 0.1 ? 40 : Math.floor(random() * 6)
    for (let i = 0; i < wanted && left > 0; i++) {
      const name = randomName(random, options)
      if (children.has(name.toString('latin1'))) continue
      left--
      children.set(name.toString('latin1'), { name, node: make(childKind(depth), depth + 1) })
    }
    return { kind, entries: [...children.values()].sort((a, b) => Buffer.compare(a.name, b.name)) }
  }
  const childKind = (depth: number): TreeSpec['kind'] => {
    const roll = random()
    if (roll < 0.4 && depth < maxDepth) return 'directory'
    return symlinks && roll > 0.85 ? 'symlink' : 'file'
  }

  const tree = make(root, 1)
  // A root that came out small is filled up.
  while (tree.kind === 'directory' && left > 0 && tree.entries.length < entries) {
    const name = randomName(random, options)
    if (tree.entries.some(entry => entry.name.equals(name))) continue
    left--
    tree.entries.push({ name, node: make(childKind(1), 2) })
  }
  if (tree.kind === 'directory') tree.entries.sort((a, b) => Buffer.compare(a.name, b.name))
  return tree
}

function randomFile(random: () => number, { executables = true, maxFileBytes = 20_000 }: RandomTreeOptions): TreeSpec {
  const executable = executables && random() < 0.3
  const length = random() < 0.2 ? 0 : randomLength(random, 64, maxFileBytes)
  return { kind: 'file', executable, contents: randomBytes(random, length, 0) }
}

/** Mostly up to `usual`, now and then up to `most`. */
function randomLength(random: () => number, usual: number, most: number): number {
  return Math.floor(random() * (Math.min(random() < 0.9 ? usual : most, most) + 1))
}

function randomBytes(random: () => number, length: number, smallest: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = smallest + random() * (256 - smallest)
  return bytes
}

/** Beginnings of names that sort otherwise as text, or in another locale, or that look like something else. */
const oddities = ['a', 'A', 'ä', 'a.', 'a-', '.', '..', '-', '~', ' ', '\n', '\\', '\u{1f980}', '\uff5e', '"']

function randomName(random: () => number, { weirdNames = true }: RandomTreeOptions): Buffer {
  if (!weirdNames) {
    const letters = Array.from({ length: 1 + Math.floor(random() * 12) }, () => 97 + Math.floor(random() * 26))
    return Buffer.from(letters)
  }
  for (;;) {
    const start = random() < 0.5 ? oddities[Math.floor(random() * oddities.length)]! : ''
    const rest = randomBytes(random, randomLength(random, 10, 254), 1)
    const name = Buffer.concat([Buffer.from(start), rest.filter(byte => byte !== 0x2f)]).subarray(0, 255)
    if (name.length > 0 && !['.', '..'].includes(name.toString('latin1'))) return name
  }
}

/** Writes the tree to disk at `path`, which must not exist yet. */
export function writeTree(spec: TreeSpec, path: string | Buffer): void {
  const at = Buffer.from(path)
  switch (spec.kind) {
    case 'file':
      writeFileSync(at, spec.contents)
      chmodSync(at, spec.executable ? 0o755 : 0o644)
      return
    case 'symlink':
      symlinkSync(spec.target, at)
      return
    case 'directory':
      mkdirSync(at)
      for (const { name, node } of spec.entries) writeTree(node, Buffer.concat([at, Buffer.from('/'), name]))
  }
}

/** Tells the tree to a sink, each file's contents in one call. */
export function specToSink(spec: TreeSpec, sink: TreeSink, name: Uint8Array = EMPTY_NAME): void {
  switch (spec.kind) {
    case 'file':
      sink.file(name, spec.executable, spec.contents.length)
      if (spec.contents.length > 0) sink.contents(spec.contents)
      sink.endFile()
      return
    case 'symlink':
      sink.symlink(name, spec.target)
      return
    case 'directory':
      sink.directory(name)
      for (const entry of spec.entries) specToSink(entry.node, sink, entry.name)
      sink.endDirectory()
  }
}
