import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MountError, StateError, systemCode } from '../errors.ts'
import { printLine } from './output.ts'

const LOG_FILE = 'mount.log'

/**
 * Starts this very command again without `--background`, detached, and returns when it has said that it is mounted.
 * Throws MountError with its last line where it ends before.
 */
export async function mountInBackground(state: string): Promise<void> {
  const log = openLog(state)
  const words = process.argv.slice(1).filter(word => !/^--background(=|$)/.test(word))
  const environment = { ...process.env, NIX_IPFS_BACKGROUND: undefined }
  const child = spawn(process.execPath, [...process.execArgv, ...words], {
    detached: true,
    cwd: process.cwd(),
    env: environment,
    stdio: ['ignore', 'pipe', log.fd],
  })
  closeSync(log.fd)
  const said = await new Promise<string | undefined>((resolve, reject) => {
    child.stdout!.once('data', (chunk: Buffer) => resolve(chunk.toString('utf8').split('\n')[0]))
    child.once('exit', () => resolve(undefined))
    child.once('error', reject)
  })
  if (said === undefined) {
    const last = readFileSync(log.file, 'utf8').trim().split('\n').at(-1) ?? ''
    throw new MountError(
      `${last.replace(/^nix-ipfs-mount: /, '') || 'the mount ended before it answered'} (see ${log.file})`,
    )
  }
  printLine(said)
  child.stdout!.destroy()
  child.unref()
}

function openLog(state: string): { file: string; fd: number } {
  const file = join(state, LOG_FILE)
  try {
    mkdirSync(state, { recursive: true, mode: 0o755 })
    return { file, fd: openSync(file, 'a', 0o644) }
  } catch (cause) {
    throw new StateError(`${file}: cannot be written (${systemCode(cause)}); name another folder with --state`, {
      cause,
    })
  }
}
