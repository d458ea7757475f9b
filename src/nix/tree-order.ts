import { asBuffer, bytesToText } from '../bytes.ts'
import { FormatError } from '../errors.ts'
import { MAX_DEPTH, MAX_NAME_BYTES, MAX_TARGET_BYTES } from './tree.ts'

const SLASH = 0x2f
const DOT = 0x2e

interface Frame {
  /** Of the directory itself. */
  name: Buffer
  /** Of its latest entry. */
  last: Buffer | undefined
}

/**
 * Holds a stream of tree events to the rules of a store object: one root, valid names, strictly ascending bytewise,
 * limited depth, everything closed. Throws FormatError with the path inside the tree.
 */
export class TreeOrder {
  readonly #open: Frame[] = []
  #hasRoot = false

  /** Depth of open directories. */
  get depth(): number {
    return this.#open.length
  }

  /** The next entry begins, in the innermost open directory, or as the root with an empty name. */
  entry(name: Uint8Array): void {
    const parent = this.#open.at(-1)
    if (parent === undefined) {
      if (this.#hasRoot || name.length > 0)
        throw new FormatError(this.#hasRoot ? 'a tree has one root' : 'the root of a tree has no name')
      this.#hasRoot = true
      return
    }
    const problem = nameProblem(name)
    if (problem !== undefined) throw new FormatError(`${this.where(name)}: ${problem}`)
    if (parent.last !== undefined) {
      const order = Buffer.compare(parent.last, name)
      if (order === 0) throw new FormatError(`${this.where(name)}: is there twice`)
      if (order > 0)
        throw new FormatError(`${this.where(name)}: comes after ${bytesToText(parent.last)}, but names must be sorted`)
    }
    parent.last = Buffer.from(name)
  }

  /** The entry just begun is a directory, and is open now. */
  enter(name: Uint8Array): void {
    if (this.#open.length >= MAX_DEPTH) throw new FormatError(`the tree has more than ${MAX_DEPTH} levels of folders`)
    this.#open.push({ name: asBuffer(name), last: undefined })
  }

  leave(): void {
    if (this.#open.pop() === undefined) throw new FormatError('a folder ends that was not begun')
  }

  target(name: Uint8Array, target: Uint8Array): void {
    if (target.length === 0) throw new FormatError(`${this.where(name)}: a symlink without target`)
    if (target.length > MAX_TARGET_BYTES)
      throw new FormatError(
        `${this.where(name)}: a symlink target of ${target.length} bytes, more than ${MAX_TARGET_BYTES}`,
      )
    if (target.includes(0)) throw new FormatError(`${this.where(name)}: a symlink target with a NUL byte`)
  }

  /** The tree is complete. */
  finish(): void {
    if (!this.#hasRoot || this.#open.length > 0) throw new FormatError('the tree is not complete')
  }

  /** An entry's path inside the tree, for messages; `/` is the root. */
  where(name: Uint8Array): string {
    return `/${[...this.#open.slice(1).map(frame => frame.name), name].map(shownName).join('/')}`
  }
}

/** A name in a message: no line breaks, not longer than a line takes. */
function shownName(name: Uint8Array): string {
  const text = bytesToText(name.subarray(0, MAX_NAME_BYTES))
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/[\u0000-\u001f\u007f]/g, '?')
}

function nameProblem(name: Uint8Array): string | undefined {
  if (name.length === 0) return 'an empty name'
  if (name.length > MAX_NAME_BYTES) return `a name of ${name.length} bytes, more than ${MAX_NAME_BYTES}`
  if (name.includes(SLASH)) return 'a name with a slash'
  if (name.includes(0)) return 'a name with a NUL byte'
  if (name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT))) return 'a name that is . or ..'
  return undefined
}
