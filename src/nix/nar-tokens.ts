/**
 * The NAR format (https://nix.dev/manual/nix/latest/protocols/nix-archive):
 *
 *     nar     = "nix-archive-1" node
 *     node    = "(" "type" ( regular | directory | symlink ) ")"
 *     regular = "regular" [ "executable" "" ] "contents" <bytes>
 *     directory = "directory" { "entry" "(" "name" <name> "node" node ")" }       sorted bytewise by name
 *     symlink = "symlink" "target" <target>
 *
 * Everything in quotes or angle brackets is a string: its length as 64 bits little-endian, its bytes, and zeros up to
 * a multiple of 8. What lies between two file contents is called framing. Its tokens come in fixed runs, which are
 * written and compared at once.
 */

/** Several tokens in a row. */
export interface TokenRun {
  readonly tokens: readonly string[]
  readonly bytes: Buffer
  /** The bytes as little-endian numbers of 32 bits, which are compared faster. */
  readonly words: Int32Array
}

/** Of one string, and of everything in a NAR. */
export const ALIGNMENT = 8

/** Bytes of a length. */
export const LENGTH_BYTES = 8

/** Largest length that can be handed on exactly; a longer file does not exist. */
export const MAX_FILE_SIZE = Number.MAX_SAFE_INTEGER

/** Zeros after `length` bytes. */
export function paddingOf(length: number): number {
  return (ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT
}

/** The tokens as they are in a NAR. */
export function tokenRun(...tokens: string[]): TokenRun {
  const bytes = Buffer.concat(tokens.map(stringBytes))
  return { tokens, bytes, words: Int32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(i * 4)) }
}

function stringBytes(text: string): Buffer {
  const bytes = Buffer.alloc(LENGTH_BYTES + text.length + paddingOf(text.length))
  bytes.writeUInt32LE(text.length)
  bytes.write(text, LENGTH_BYTES, 'latin1')
  return bytes
}

/** Begins a NAR, up to the type of the root. */
export const START = tokenRun('nix-archive-1', '(', 'type')
/** Begins a directory's entry, up to its name. */
export const ENTRY = tokenRun('entry', '(', 'name')
/** Between an entry's name and the type of its node. */
export const NODE = tokenRun('node', '(', 'type')
/** Types, up to what follows as a string of its own. */
export const REGULAR = tokenRun('regular')
export const DIRECTORY = tokenRun('directory')
export const SYMLINK = tokenRun('symlink', 'target')
/** Between the type of a regular file and its contents. */
export const CONTENTS = tokenRun('contents')
export const EXECUTABLE_CONTENTS = tokenRun('executable', '', 'contents')
/** Ends the root. */
export const CLOSE = tokenRun(')')
/** Ends a node and the entry that it belongs to. */
export const CLOSE_ENTRY = tokenRun(')', ')')
