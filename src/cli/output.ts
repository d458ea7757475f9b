import { once } from 'node:events'
import { cidText } from '../cid.ts'
import type { PathRecord } from '../index/types.ts'
import { narHashText } from '../nix/hash.ts'
import { fullPath } from '../nix/store-path.ts'

/** Results go to stdout, and nothing else does. */
export function printLine(line: string): void {
  process.stdout.write(`${line}\n`)
}

export function printJson(value: unknown): void {
  printLine(JSON.stringify(value))
}

/** Writes bytes to stdout, waiting where the reader is slow. The bytes may be overwritten once this resolves. */
export async function writeBytes(bytes: Uint8Array): Promise<void> {
  // The stream keeps what it could not write at once, and the caller's buffer is used again.
  if (!process.stdout.write(Buffer.from(bytes))) await once(process.stdout, 'drain')
}

/** The fields that every command shows of a path in JSON, as they are written there. */
export function pathFields({
  baseName,
  root,
  nar,
  narHash,
  narSize,
}: Pick<PathRecord, 'baseName' | 'root' | 'nar' | 'narHash' | 'narSize'>) {
  return {
    path: fullPath(baseName),
    root: cidText(root),
    nar: nar === undefined ? null : cidText(nar),
    narHash: narHashText(narHash),
    narSize,
  }
}
