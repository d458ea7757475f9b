import assert from 'node:assert/strict'
import { FormatError } from '../../src/errors.ts'
import { NarWriter } from '../../src/nix/nar-writer.ts'
import type { TreeSink } from '../../src/nix/tree.ts'
import { output } from '../helpers/run.ts'

/** What the real Nix makes of a file or folder. */
export function dumpByNix(path: string): Promise<Buffer> {
  return output('nix-store', ['--dump', path])
}

/** The NAR of what is told to the writer. */
export function narOf(tell: (sink: TreeSink) => void): Buffer {
  const parts: Buffer[] = []
  // Copies: the writer overwrites what it hands out.
  const keep = (bytes: Uint8Array) => parts.push(Buffer.from(bytes))
  const writer = new NarWriter({ framing: keep, contents: keep })
  tell(writer)
  writer.finish()
  const nar = Buffer.concat(parts)
  assert.equal(writer.bytesWritten, nar.length)
  return nar
}

export interface LoggedEvent {
  kind: 'directory' | 'endDirectory' | 'file' | 'endFile' | 'symlink'
  name?: string
  executable?: boolean
  size?: number
  /** Of a file, all of it. */
  contents?: string
  target?: string
}

/** Keeps what it is told, byte strings as latin1; does not depend on how contents are cut. */
export class EventLog implements TreeSink {
  readonly events: LoggedEvent[] = []
  #contents: Buffer[] = []

  directory(name: Uint8Array): void {
    this.events.push({ kind: 'directory', name: latin1(name) })
  }

  endDirectory(): void {
    this.events.push({ kind: 'endDirectory' })
  }

  file(name: Uint8Array, executable: boolean, size: number): void {
    this.events.push({ kind: 'file', name: latin1(name), executable, size })
  }

  contents(bytes: Uint8Array): void {
    assert.ok(bytes.length > 0)
    this.#contents.push(Buffer.from(bytes))
  }

  endFile(): void {
    this.events.push({ kind: 'endFile', contents: latin1(Buffer.concat(this.#contents)) })
    this.#contents = []
  }

  symlink(name: Uint8Array, target: Uint8Array): void {
    this.events.push({ kind: 'symlink', name: latin1(name), target: latin1(target) })
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/** A sink that takes everything, also what is no tree. */
export const anything: TreeSink = {
  directory() {},
  endDirectory() {},
  file() {},
  contents() {},
  endFile() {},
  symlink() {},
}

/** The message of the FormatError, one line long, that `action` must throw. */
export function formatErrorOf(action: () => void): string {
  try {
    action()
  } catch (error) {
    assert.ok(error instanceof FormatError, `threw ${error}`)
    assert.doesNotMatch(error.message, /[\n\r]/)
    return error.message
  }
  return assert.fail('did not throw')
}

/** NAR bytes from their parts: a text is a string of the format, with length and padding; a Buffer is itself. */
export function narBytes(...parts: (string | Buffer)[]): Buffer {
  return Buffer.concat(parts.map(part => (typeof part === 'string' ? narString(part) : part)))
}

/** A string of the format; a character is a byte. */
export function narString(text: string, padding = 0): Buffer {
  const bytes = Buffer.from(text, 'latin1')
  return Buffer.concat([narLength(bytes.length), bytes, Buffer.alloc((8 - (bytes.length % 8)) % 8, padding)])
}

/** A length as it stands in a NAR. */
export function narLength(length: bigint | number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(length))
  return bytes
}
