import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MountError, StateError, systemCode } from '../errors.ts'
import { openStateFolder } from '../store/state.ts'
import type { Config } from './config.ts'
import { withIdentity } from './identity.ts'
import { stateIdentity } from './state-user.ts'

const LOG_FILE = 'mount.log'

/** A mount in a process of its own. */
export interface MountServer {
  child: ChildProcess
  /** What it said when it was mounted. */
  line: string
}

/**
 * Starts this program with the arguments of a mount, detached, and returns when it has said that it is mounted. Its
 * messages go to mount.log in the state folder. Throws MountError with the last of them where it ends before.
 * @param bound whether it ends by itself when this process is gone
 */
export async function startMountServer(
  config: Config,
  words: readonly string[],
  { bound }: { bound: boolean },
): Promise<MountServer> {
  const identity = stateIdentity(config)
  const log = withIdentity(identity, () => openLog(openStateFolder(config.state, config.blocks).folder))
  const lifeline = bound ? ['--lifeline', '3'] : []
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...words, ...lifeline], {
    detached: true,
    stdio: ['ignore', 'pipe', log.fd, ...(bound ? ['pipe' as const] : [])],
  })
  closeSync(log.fd)
  const line = await new Promise<string | undefined>((resolve, reject) => {
    child.stdout!.once('data', (chunk: Buffer) => resolve(chunk.toString('utf8').split('\n')[0]))
    child.once('exit', () => resolve(undefined))
    child.once('error', reject)
  })
  if (line === undefined) {
    const message = withIdentity(identity, () => lastMessage(log.file))
    throw new MountError(`${message ?? 'the mount ended before it answered'} (see ${log.file})`)
  }
  child.stdout!.destroy()
  if (!bound) child.unref()
  return { child, line }
}

/** The last line that is a message, and not a part of a stack trace. */
function lastMessage(file: string): string | undefined {
  const messages = readFileSync(file, 'utf8').match(/^nix-ipfs-mount: .*$/gm)
  return messages?.at(-1)?.replace('nix-ipfs-mount: ', '')
}

function openLog(state: string): { file: string; fd: number } {
  const file = join(state, LOG_FILE)
  try {
    return { file, fd: openSync(file, 'a', 0o644) }
  } catch (cause) {
    throw new StateError(`${file}: cannot be written (${systemCode(cause)}); name another folder with --state`, {
      cause,
    })
  }
}
