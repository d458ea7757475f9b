import { spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import { MissingToolError, systemCode } from '../errors.ts'
import { leaveSignalsTo } from '../fs/signals.ts'
import type { Config } from './config.ts'
import { asIdentity, type Identity } from './identity.ts'

/** Of what is passed to a program that takes our place. */
const PASSED_FD = 3

/** How a program that took our place ended. */
interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
}

/**
 * Runs this command once more in our place, as a user who may read everybody's files and nothing else: with our
 * standard streams, signals and arguments, and with `--<option> <descriptor>` to read `text` from. Ends as it ends.
 * Throws MissingToolError.
 */
export async function rerunReadingOthers(
  identity: Identity,
  config: Config,
  { option, text }: { option: string; text: string },
): Promise<void> {
  const [setpriv, ...prefix] = asIdentity(identity, { readOthers: true })
  const words = [process.argv[1]!, `--${option}=${PASSED_FD}`, ...process.argv.slice(2)]
  const child = spawn(setpriv!, [...prefix, process.execPath, ...process.execArgv, ...words], {
    // Another user's default state would be another one.
    env: { ...process.env, HOME: identity.home, NIX_IPFS_STATE: config.state },
    stdio: ['inherit', 'inherit', 'inherit', 'pipe'],
  })
  const takeBack = leaveSignalsTo(child, { passTyped: true })
  const passed = child.stdio[PASSED_FD] as Writable
  // One that ended before it has read everything says why by itself.
  passed.on('error', () => {})
  passed.end(text)
  const { code, signal } = await new Promise<Ended>((resolve, reject) => {
    child.once('error', cause =>
      reject(
        systemCode(cause) === 'ENOENT'
          ? new MissingToolError('setpriv is missing; install the package util-linux', { cause })
          : cause,
      ),
    )
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  takeBack()
  if (signal !== null) process.kill(process.pid, signal)
  process.exitCode = code ?? 1
}
