import { readFileSync } from 'node:fs'
import type { ValidPath } from '../nix/local-store.ts'

/** As JSON, from root, who may ask Nix, to the process that may not. */
export function validPathsText(paths: readonly ValidPath[]): string {
  return JSON.stringify(paths.map(path => ({ ...path, narHash: path.narHash.toString('hex') })))
}

/** What {@link validPathsText} wrote, from a descriptor. */
export function readValidPaths(fd: number): ValidPath[] {
  const paths: (Omit<ValidPath, 'narHash'> & { narHash: string })[] = JSON.parse(readFileSync(fd, 'utf8'))
  return paths.map(path => ({ ...path, narHash: Buffer.from(path.narHash, 'hex') }))
}
