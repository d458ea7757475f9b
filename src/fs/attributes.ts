import type { Attributes } from './types.ts'

/**
 * What stat shows, as Nix leaves files in its store (src/libstore/posix-fs-canonicalise.cc of Nix): modes 0444 and
 * 0555, times 1, root's. Directories have size 0 and, like all, one link.
 */

/** File type bits of st_mode, inode(7). */
const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000 } as const

export const NIX_TIME = 1
export const BLOCK_BYTES = 512
/** st_blksize: what reads are best made in. */
export const IO_BYTES = 4096

/** st_mode. */
export function modeOf({ kind, executable }: Pick<Attributes, 'kind' | 'executable'>): number {
  const permissions = kind === 'symlink' ? 0o777 : kind === 'directory' || executable ? 0o555 : 0o444
  return typeBits[kind] | permissions
}

/** st_blocks: 512-byte units, rounded up, so that no program takes a file for sparse. */
export function blocksOf(size: number): number {
  return Math.ceil(size / BLOCK_BYTES)
}
