import { asBuffer } from '../bytes.ts'
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
  NODE,
  paddingOf,
  REGULAR,
  START,
  SYMLINK,
  type TokenRun,
} from './nar-tokens.ts'
import { EMPTY_NAME, MAX_NAME_BYTES, MAX_TARGET_BYTES, type TreeSink } from './tree.ts'

/** What comes next. */
type State = 'start' | 'entry' | 'contents' | 'after contents' | 'done'

/**
 * Bytes of the longest step that must lie in memory at once: a whole entry that is a symlink with the longest name and
 * target, some 4,600.
 */
const MAX_STEP_BYTES = 8192

/** The first letters of tokens between which there is a choice. */
const letter = {
  close: 0x29,
  contents: 0x63,
  directory: 0x64,
  entry: 0x65,
  executable: 0x65,
  regular: 0x72,
  symlink: 0x73,
}

/**
 * Reads a NAR that comes in chunks of any size, in constant memory, and tells it to a sink. It takes exactly what
 * Nix writes: each accepted NAR is, byte for byte, what {@link NarWriter} makes of the events. (Nix 2.8 also reads
 * fields in other orders, files without contents, and any number of entries' fields; such a NAR has another hash than
 * its unpacked tree, so it cannot be a store path's.)
 *
 * Names and targets told to the sink are views that the next event may overwrite, contents are views of the chunk.
 * Throws FormatError with the byte offset and the place in the tree, and whatever the sink throws; after that every
 * further call throws the same.
 */
export class NarParser {
  readonly #sink: TreeSink
  readonly #names = new NameStack()
  #state: State = 'start'
  /** Bytes of the open file that have not come yet. */
  #left = 0
  /** Zeros after the open file. */
  #padding = 0
  /** Whether the name of the entry that is being read was taken already. */
  #named = false

  // What is being read: bytes [pos, end) of the buffer, whose first byte has offset `base` in the NAR.
  #buffer: Buffer = Buffer.alloc(0)
  #view = viewOf(this.#buffer)
  #pos = 0
  #end = 0
  #base = 0

  /** The beginning of a step whose end is in a chunk still to come. */
  readonly #carry = Buffer.alloc(MAX_STEP_BYTES)
  #carried = 0

  #failure: { error: unknown } | undefined

  constructor(sink: TreeSink) {
    this.#sink = sink
  }

  /** Takes the next bytes. */
  push(chunk: Uint8Array): void {
    this.#guard(() => this.#take(asBuffer(chunk)))
  }

  /** Ends the NAR. Throws FormatError if it is truncated. */
  end(): void {
    this.#guard(() => {
      if (this.#state === 'done') return
      this.#pos = this.#end
      throw this.#error('the NAR ends before it is complete')
    })
  }

  #guard(action: () => void): void {
    if (this.#failure !== undefined) throw this.#failure.error
    try {
      action()
    } catch (error) {
      this.#failure = { error }
      throw error
    }
  }

  #take(chunk: Buffer): void {
    let from = 0
    if (this.#carried > 0) {
      const held = this.#carried
      const added = chunk.copy(this.#carry, held)
      this.#read(this.#carry, 0, held + added)
      if (!this.#step()) {
        // No step is longer than the carry, so the chunk is all in it.
        this.#carried = held + added
        return
      }
      // The step that was incomplete took everything that was held, and more.
      from = this.#pos - held
      this.#base += held
      this.#carried = 0
    }
    this.#read(chunk, from, chunk.length)
    while (this.#pos < this.#end) {
      const start = this.#pos
      if (this.#step()) continue
      this.#carried = chunk.copy(this.#carry, 0, start)
      this.#base += start
      this.#pos = 0
      this.#end = this.#carried
      return
    }
    this.#base += chunk.length
    this.#pos = 0
    this.#end = 0
  }

  #read(buffer: Buffer, from: number, to: number): void {
    this.#buffer = buffer
    this.#view = viewOf(buffer)
    this.#pos = from
    this.#end = to
  }

  /** Reads what comes next. False if it is not all there: then it must be read again from its beginning. */
  #step(): boolean {
    switch (this.#state) {
      case 'start':
        return this.#expect(START) && this.#node(EMPTY_NAME, 0, 0)
      case 'entry':
        return this.#entryOrClose()
      case 'contents':
        return this.#contents()
      case 'after contents':
        if (!this.#zeros(this.#padding) || !this.#close()) return false
        this.#sink.endFile()
        return true
      case 'done':
        throw this.#error('bytes follow the end of the NAR')
    }
  }

  #entryOrClose(): boolean {
    const choice = this.#peekLetter()
    if (choice === undefined) return false
    const names = this.#names
    if (choice === letter.close) {
      if (!this.#expect(names.depth === 1 ? CLOSE : CLOSE_ENTRY)) return false
      names.leave()
      this.#afterNode()
      this.#sink.endDirectory()
      return true
    }
    if (choice !== letter.entry) throw this.#error('expected "entry" or ")"')
    if (!this.#expect(ENTRY)) return false
    const length = this.#length()
    if (length === undefined) return false
    if (length > MAX_NAME_BYTES) throw this.#error(`an entry's name is ${length} bytes long, over ${MAX_NAME_BYTES}`)
    const start = this.#pos
    if (!this.#skip(length)) return false
    if (!this.#named) {
      const problem = names.next(this.#buffer, start, start + length)
      if (problem !== undefined) throw this.#error(problem, start)
      this.#named = true
    }
    return this.#zeros(paddingOf(length)) && this.#expect(NODE) && this.#node(this.#buffer, start, start + length)
  }

  /** Reads a node from its type on, up to a file's contents; its name is bytes [from, to). */
  #node(bytes: Uint8Array, from: number, to: number): boolean {
    switch (this.#peekLetter()) {
      case undefined:
        return false
      case letter.directory: {
        if (!this.#expect(DIRECTORY)) return false
        const problem = this.#names.enter()
        if (problem !== undefined) throw this.#error(problem)
        this.#named = false
        this.#state = 'entry'
        this.#sink.directory(bytes.subarray(from, to))
        return true
      }
      case letter.symlink:
        return this.#expect(SYMLINK) && this.#symlink(bytes, from, to)
      case letter.regular:
        return this.#expect(REGULAR) && this.#regular(bytes, from, to)
      default:
        throw this.#error('expected "regular", "directory" or "symlink"')
    }
  }

  #symlink(bytes: Uint8Array, from: number, to: number): boolean {
    const length = this.#length()
    if (length === undefined) return false
    if (length === 0) throw this.#error('the target of the symlink is empty')
    if (length > MAX_TARGET_BYTES) {
      throw this.#error(`the symlink's target is ${length} bytes long, over ${MAX_TARGET_BYTES}`)
    }
    const start = this.#pos
    if (!this.#skip(length)) return false
    const target = this.#buffer.subarray(start, start + length)
    if (target.includes(0)) throw this.#error('the target of the symlink has a NUL byte', start)
    if (!this.#zeros(paddingOf(length)) || !this.#close()) return false
    this.#sink.symlink(bytes.subarray(from, to), target)
    return true
  }

  #regular(bytes: Uint8Array, from: number, to: number): boolean {
    const choice = this.#peekLetter()
    if (choice === undefined) return false
    const executable = choice === letter.executable
    if (!executable && choice !== letter.contents) throw this.#error('expected "contents" or "executable"')
    if (!this.#expect(executable ? EXECUTABLE_CONTENTS : CONTENTS)) return false
    const size = this.#length()
    if (size === undefined) return false
    this.#left = size
    this.#padding = paddingOf(size)
    this.#state = size > 0 ? 'contents' : 'after contents'
    this.#sink.file(bytes.subarray(from, to), executable, size)
    return true
  }

  #contents(): boolean {
    const start = this.#pos
    const length = Math.min(this.#left, this.#end - start)
    this.#pos = start + length
    this.#left -= length
    if (this.#left === 0) this.#state = 'after contents'
    this.#sink.contents(this.#buffer.subarray(start, start + length))
    return true
  }

  /** Reads the end of a node that is not a directory, and of its entry. */
  #close(): boolean {
    if (!this.#expect(this.#names.depth === 0 ? CLOSE : CLOSE_ENTRY)) return false
    this.#afterNode()
    return true
  }

  #afterNode(): void {
    this.#named = false
    this.#state = this.#names.depth === 0 ? 'done' : 'entry'
  }

  // The readers below move on if all bytes are there; if not, what there is was checked all the same.

  #expect(run: TokenRun): boolean {
    const view = this.#view
    const words = run.words
    const pos = this.#pos
    const end = pos + run.bytes.length
    if (end > this.#end) {
      this.#compare(run)
      return false
    }
    for (let i = 0, at = pos; at < end; i++, at += 4) {
      if (view.getInt32(at, true) !== words[i]) this.#compare(run)
    }
    this.#pos = end
    return true
  }

  /** Throws at the first token that is another one, as far as the bytes go. */
  #compare(run: TokenRun): void {
    let start = 0
    for (const token of run.tokens) {
      const end = start + LENGTH_BYTES + token.length + paddingOf(token.length)
      const there = this.#buffer.subarray(this.#pos + start, Math.min(this.#pos + end, this.#end))
      if (!there.equals(run.bytes.subarray(start, start + there.length))) {
        if (token === START.tokens[0]) throw new FormatError(`not a NAR: it does not begin with "${token}"`)
        throw this.#error(`expected ${JSON.stringify(token)}`, this.#pos + start)
      }
      start = end
    }
  }

  /** The first letter of the next token. */
  #peekLetter(): number | undefined {
    const at = this.#pos + LENGTH_BYTES
    return at < this.#end ? this.#buffer[at] : undefined
  }

  #length(): number | undefined {
    const pos = this.#pos
    if (this.#end - pos < LENGTH_BYTES) return undefined
    const high = this.#view.getUint32(pos + 4, true)
    if (high > 0x1fffff) throw this.#error('a length is over 2^53 bytes')
    this.#pos = pos + LENGTH_BYTES
    return high * 0x100000000 + this.#view.getUint32(pos, true)
  }

  #skip(length: number): boolean {
    if (this.#end - this.#pos < length) return false
    this.#pos += length
    return true
  }

  #zeros(count: number): boolean {
    const pos = this.#pos
    const available = Math.min(count, this.#end - pos)
    for (let i = 0; i < available; i++)
      if (this.#buffer[pos + i] !== 0) throw this.#error('padding is not zero', pos + i)
    if (available < count) return false
    this.#pos = pos + count
    return true
  }

  #error(problem: string, pos = this.#pos): FormatError {
    const entry = this.#state !== 'entry' || this.#named
    return new FormatError(`malformed NAR at byte ${this.#base + pos}, in ${this.#names.where(entry)}: ${problem}`)
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength)
}

/** Tells a whole NAR to a sink. Throws as {@link NarParser} does. */
export function parseNar(bytes: Uint8Array, sink: TreeSink): void {
  const parser = new NarParser(sink)
  parser.push(bytes)
  parser.end()
}
