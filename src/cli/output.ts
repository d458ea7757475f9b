import { once } from 'node:events'
import { constants } from 'node:os'
import { cidText } from '../cid.ts'
import type { PathRecord } from '../index/types.ts'
import { narHashText } from '../nix/hash.ts'
import { fullPath } from '../nix/store-path.ts'

/** Lines are gathered up to about this, bytes: one write for many of them. */
const GATHERED_BYTES = 64 * 1024

/** Results go to stdout, and nothing else does. Waits where the reader is slow. */
export function printLine(line: string): Promise<void> {
  return write(`${line}\n`)
}

export function printJson(value: unknown): Promise<void> {
  return printLine(JSON.stringify(value))
}

/** Prints text that comes in many small parts, which end their lines themselves. */
export async function printParts(parts: Iterable<string>): Promise<void> {
  let gathered = ''
  for (const part of parts) {
    gathered += part
    if (gathered.length < GATHERED_BYTES) continue
    await write(gathered)
    gathered = ''
  }
  if (gathered !== '') await write(gathered)
}

/** Writes bytes to stdout, waiting where the reader is slow. The bytes may be overwritten once this resolves. */
export function writeBytes(bytes: Uint8Array): Promise<void> {
  // The stream keeps what it could not write at once, and the caller's buffer is used again.
  return write(Buffer.from(bytes))
}

/** Prints a line that the program outlives, whoever reads it: a server goes on also where nobody does. */
export function announce(line: string): void {
  process.stdout.removeAllListeners('error').on('error', () => {})
  process.stdout.write(`${line}\n`)
}

async function write(data: string | Buffer): Promise<void> {
  const { stdout } = process
  const room = stdout.write(data)
  // The event may be far: a command that never waits for anything else would go on for nobody.
  if (isBrokenPipe(stdout.errored)) endAsSigpipe()
  if (!room && stdout.errored === null) await once(stdout, 'drain')
}

/** True for the error of an output whose reader is gone. */
export function isBrokenPipe(error: Error | null): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === 'EPIPE'
}

/** Ends the process as SIGPIPE ends every other tool whose reader is gone: Node ignores that signal. */
export function endAsSigpipe(): never {
  const listener = () => {}
  // What was listened to, and is no more, has its default action again.
  process.on('SIGPIPE', listener).off('SIGPIPE', listener)
  process.kill(process.pid, 'SIGPIPE')
  // The first process of a container is spared; this is what a shell says of the others.
  process.exit(128 + constants.signals.SIGPIPE)
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
