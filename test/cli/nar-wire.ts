/** NARs written string by string, so that tests can write wrong ones. Format: Nix's store object specification. */

/** A string as a NAR has it: length, bytes, zeros up to a multiple of 8. */
export function wireString(value: string | Uint8Array, padding = 0): Buffer {
  const bytes = Buffer.from(value as string)
  const pad = Buffer.alloc((8 - (bytes.length % 8)) % 8, padding)
  return Buffer.concat([wireNumber(bytes.length), bytes, pad])
}

export function wireNumber(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

/** Something of a NAR: text stands for a string of it, bytes for themselves. */
export type Token = string | Uint8Array

export function nar(...root: Token[]): Buffer {
  return wire('nix-archive-1', ...root)
}

export function wire(...tokens: Token[]): Buffer {
  return Buffer.concat(tokens.map(token => (typeof token === 'string' ? wireString(token) : token)))
}

export function file(contents: string): Token[] {
  return ['(', 'type', 'regular', 'contents', contents, ')']
}

export function directory(...entries: Token[][]): Token[] {
  return ['(', 'type', 'directory', ...entries.flat(), ')']
}

export function entry(name: Token, node: Token[]): Token[] {
  return ['entry', '(', 'name', name, 'node', ...node, ')']
}

/** Folders of this name in each other, `depth` of them with the root, the innermost empty. */
export function nested(depth: number, name = 'd'): Buffer {
  const open = Buffer.concat([wire('(', 'type', 'directory', 'entry', '(', 'name', name, 'node')])
  const close = wire(')', ')')
  return Buffer.concat([
    wireString('nix-archive-1'),
    ...Array.from({ length: depth - 1 }, () => open),
    wire('(', 'type', 'directory', ')'),
    ...Array.from({ length: depth - 1 }, () => close),
  ])
}
