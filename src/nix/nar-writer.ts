import { FormatError } from '../errors.ts'
import { NameStack } from './name-stack.ts'
import {
  CLOSE,
  CLOSE_ENTRY,
  CONTENTS,
  DIRECTORY,
  ENTRY,
  EXECUTABLE_CONTENTS,
  LENGTH_BYTES,
  MAX_FILE_SIZE,
  NODE,
  paddingOf,
  REGULAR,
  START,
  SYMLINK,
  tokenRun,
} from './nar-tokens.ts'
import { MAX_NAME_BYTES, MAX_TARGET_BYTES, type TreeSink } from './tree.ts'

/** Where a NAR goes, in order. Neither call may keep the bytes: they are overwritten after it returns. */
export interface NarOutput {
  /** Bytes that are not of any file; before one that is not empty, they come while {@link NarWriter.file} runs. */
  framing(bytes: Uint8Array): void
  /** Bytes of a file, just as {@link NarWriter.contents} was given them; never empty. */
  contents(bytes: Uint8Array): void
}

/** Framing is handed out when this much has come together. Bytes; one entry takes at most some 4,600. */
const FRAMING_BYTES = 16 * 1024

const node = {
  regular: tokenRun(...NODE.tokens, ...REGULAR.tokens, ...CONTENTS.tokens).bytes,
  executable: tokenRun(...NODE.tokens, ...REGULAR.tokens, ...EXECUTABLE_CONTENTS.tokens).bytes,
  directory: tokenRun(...NODE.tokens, ...DIRECTORY.tokens).bytes,
  symlink: tokenRun(...NODE.tokens, ...SYMLINK.tokens).bytes,
}

/** A root's type follows the start of the NAR instead of the `node ( type` of an entry. */
const root = Object.fromEntries(
  Object.entries(node).map(([type, bytes]) => [type, Buffer.concat([START.bytes, bytes.subarray(NODE.bytes.length)])]),
) as typeof node

/** Of an entry without its target. */
const MAX_ENTRY_BYTES = ENTRY.bytes.length + 2 * LENGTH_BYTES + MAX_NAME_BYTES + 8 + root.executable.length

/**
 * Writes a tree as the NAR that `nix-store --dump` makes of it, in constant memory. Throws FormatError, naming the
 * place in the tree, for events that are not a tree's or that a NAR cannot hold; it cannot be used after that.
 */
export class NarWriter implements TreeSink {
  readonly #output: NarOutput
  readonly #names = new NameStack()
  readonly #buffer = Buffer.alloc(FRAMING_BYTES)
  readonly #view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset, FRAMING_BYTES)
  /** Bytes of framing in the buffer. */
  #used = 0
  /** Bytes handed out so far. */
  #handedOut = 0
  #begun = false
  #finished = false
  #inFile = false
  #fileSize = 0
  /** Bytes of the open file that have not come yet. */
  #left = 0

  constructor(output: NarOutput) {
    this.#output = output
  }

  /** Size of the NAR so far, in bytes. */
  get bytesWritten(): number {
    return this.#handedOut + this.#used
  }

  directory(name: Uint8Array): void {
    this.#open('directory', name)
    const problem = this.#names.enter()
    if (problem !== undefined) throw this.#error(problem)
  }

  endDirectory(): void {
    if (this.#inFile || this.#names.depth === 0) throw this.#error('a directory ends that is not the innermost')
    this.#names.leave()
    this.#reserve(CLOSE_ENTRY.bytes.length)
    this.#close()
  }

  file(name: Uint8Array, executable: boolean, size: number): void {
    this.#open(executable ? 'executable' : 'regular', name)
    if (!Number.isInteger(size) || size < 0 || size > MAX_FILE_SIZE) throw this.#error(`${size} is no size of a file`)
    this.#length(size)
    // Here rather than with the first contents, so that a caller may prepare these where framing is put.
    if (size > 0) this.#flush()
    this.#inFile = true
    this.#fileSize = size
    this.#left = size
  }

  contents(bytes: Uint8Array): void {
    const length = bytes.length
    if (!this.#inFile) throw this.#error('contents come outside of a file')
    if (length > this.#left)
      throw this.#error(`the file is longer than the ${this.#fileSize} bytes it was said to have`)
    if (length === 0) return
    this.#left -= length
    this.#handedOut += length
    this.#output.contents(bytes)
  }

  endFile(): void {
    if (!this.#inFile) throw this.#error('a file ends that was not begun')
    if (this.#left > 0) {
      throw this.#error(`the file ends ${this.#left} bytes before the ${this.#fileSize} it was said to have`)
    }
    this.#inFile = false
    this.#reserve(CLOSE_ENTRY.bytes.length + LENGTH_BYTES)
    this.#padding(this.#fileSize)
    this.#close()
  }

  symlink(name: Uint8Array, target: Uint8Array): void {
    this.#open('symlink', name)
    const length = target.length
    if (length === 0 || target.includes(0))
      throw this.#error('a symlink cannot have a target that is empty or has a NUL byte')
    if (length > MAX_TARGET_BYTES) {
      throw this.#error(`the symlink's target is ${length} bytes long, over ${MAX_TARGET_BYTES}`)
    }
    this.#reserve(2 * LENGTH_BYTES + length + CLOSE_ENTRY.bytes.length)
    this.#string(target)
    this.#close()
  }

  /** Ends the NAR and hands out what is left of it. */
  finish(): void {
    if (!this.#finished) throw this.#error('the tree ends before it is complete')
    this.#flush()
  }

  /** Begins a node, up to what follows its type; the name may not be kept. */
  #open(type: keyof typeof node, name: Uint8Array): void {
    if (this.#inFile) throw this.#error('an entry comes before the file has ended')
    this.#reserve(MAX_ENTRY_BYTES)
    if (this.#names.depth === 0) {
      if (this.#begun) throw this.#error('a second root comes after the first')
      if (name.length > 0) throw this.#error('the root of a tree has no name')
      this.#begun = true
      this.#put(root[type])
      return
    }
    const problem = this.#names.next(name, 0, name.length)
    if (problem !== undefined) throw this.#error(problem, false)
    this.#put(ENTRY.bytes)
    this.#string(name)
    this.#put(node[type])
  }

  #close(): void {
    this.#finished = this.#names.depth === 0
    this.#put(this.#finished ? CLOSE.bytes : CLOSE_ENTRY.bytes)
  }

  #put(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#used)
    this.#used += bytes.length
  }

  #string(bytes: Uint8Array): void {
    this.#length(bytes.length)
    this.#put(bytes)
    this.#padding(bytes.length)
  }

  #length(length: number): void {
    // Of a number beyond 32 bits, >>> takes the low ones.
    this.#view.setUint32(this.#used, length >>> 0, true)
    this.#view.setUint32(this.#used + 4, length > 0xffffffff ? Math.floor(length / 0x100000000) : 0, true)
    this.#used += LENGTH_BYTES
  }

  #padding(length: number): void {
    for (let left = paddingOf(length); left > 0; left--) this.#buffer[this.#used++] = 0
  }

  #reserve(room: number): void {
    if (this.#used + room > FRAMING_BYTES) this.#flush()
  }

  #flush(): void {
    const used = this.#used
    if (used === 0) return
    this.#used = 0
    this.#handedOut += used
    this.#output.framing(this.#buffer.subarray(0, used))
  }

  #error(problem: string, entry = true): FormatError {
    return new FormatError(`malformed tree at ${this.#names.where(entry)}: ${problem}`)
  }
}
