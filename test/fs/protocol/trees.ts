import type { TreeEntry, TreeSpec } from '../../helpers/random-tree.ts'

export const MIB = 1024 * 1024

export const contentsOf = (text: string | Buffer, executable = false): TreeSpec => ({
  kind: 'file',
  executable,
  contents: Buffer.from(text as string),
})

export const linkTo = (target: string | Buffer): TreeSpec => ({
  kind: 'symlink',
  target: Buffer.from(target as string),
})

export function folderOf(entries: Record<string, TreeSpec>, more: TreeEntry[] = []): TreeSpec {
  const named = Object.entries(entries).map(([name, node]) => ({ name: Buffer.from(name), node }))
  return { kind: 'directory', entries: [...named, ...more].sort((a, b) => Buffer.compare(a.name, b.name)) }
}

/** Bytes that differ from place to place, so that a read of another place is noticed. */
export function patternOf(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(Math.imul(at + 1, 2654435761) >>> 0, at)
  return bytes
}

/** Several blocks, the last one short. */
export const large = patternOf(2 * MIB + MIB / 2 + 17)

export const LONGEST_NAME = 'n'.repeat(255)
export const UNDECODABLE_NAME = Buffer.from([0x66, 0xff, 0xfe, 0x80])
/** The longest that the kernel has room for. */
export const longestTarget = 't'.repeat(4095)

/** Everything that requests can be about. */
export const trees: Record<string, TreeSpec> = {
  tree: folderOf(
    {
      hello: contentsOf('hello from the store\n'),
      program: contentsOf('#!/bin/sh\n', true),
      large: contentsOf(large),
      empty: contentsOf(''),
      link: linkTo('hello'),
      'long link': linkTo(longestTarget),
      sub: folderOf({ deeper: folderOf({ file: contentsOf('deep') }) }),
      nothing: folderOf({}),
      [LONGEST_NAME]: contentsOf('longest'),
    },
    [{ name: UNDECODABLE_NAME, node: contentsOf('undecodable') }],
  ),
  // Several pages of the index, names of all lengths up to 200.
  many: folderOf(
    Object.fromEntries(
      Array.from({ length: 1500 }, (_, i) => [
        `${i} ${'x'.repeat((i * 7) % 196)}`,
        i % 3 === 0 ? linkTo(`${i}`) : i % 3 === 1 ? folderOf({}) : contentsOf(`${i}`, i % 2 === 0),
      ]),
    ),
  ),
  file: contentsOf('a path that is a file', true),
  'path-link': linkTo('tree'),
}
