import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface RunOptions {
  input?: Uint8Array | string
  /** Added to this process's environment; undefined removes a variable. */
  env?: NodeJS.ProcessEnv
  cwd?: string
  /** Milliseconds until the command is killed and the run fails; 60 s if not given. */
  timeout?: number
}

export interface RunResult {
  /** Exit status; null if a signal ended it. */
  code: number | null
  signal: NodeJS.Signals | null
  stdout: Buffer
  stderr: string
}

/**
 * Runs a command to its end and says how it ended; only a command that cannot be started or that exceeds its time is
 * an Error. Asynchronous, so that a test can run several at once.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { input, env, cwd, timeout = 60_000 } = options
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: 'pipe' })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    let late = false
    const timer = setTimeout(() => {
      late = true
      child.kill('SIGKILL')
    }, timeout)
    child.stdout.on('data', chunk => stdout.push(chunk))
    child.stderr.on('data', chunk => stderr.push(chunk))
    // A command may end without having read its input.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    child.once('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      const said = Buffer.concat(stderr).toString()
      if (late) reject(new Error(`${command} ${args.join(' ')}: not done after ${timeout} ms: ${said}`))
      else resolve({ code, signal, stdout: Buffer.concat(stdout), stderr: said })
    })
  })
}

/** As {@link run}, and an Error with its stderr if the command fails; gives its stdout. */
export async function output(command: string, args: readonly string[], options: RunOptions = {}): Promise<Buffer> {
  const result = await run(command, args, options)
  if (result.code !== 0) {
    const how = result.signal ?? `status ${result.code}`
    throw new Error(`${command} ${args.join(' ')}: ${how}: ${result.stderr.trim()}`)
  }
  return result.stdout
}

/** The command line program of the same build as this test. */
export const cliProgram = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** The checkout that this test and {@link cliProgram} were built in. */
export const checkout = packageRoot(cliProgram)

/** The folder with package.json that the compiled program belongs to. */
function packageRoot(file: string): string {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder
  }
  throw new Error(`${file} is in no package`)
}

/** Runs `nix-ipfs-mount <args>`. No setting of the caller's own environment reaches it. */
export function cli(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return run(process.execPath, [cliProgram, ...args], { ...options, env: { ...cleanSettings(), ...options.env } })
}

/**
 * Unsets every NIX_IPFS_ variable, as they are options, and a test names its own. The program stays root unless the
 * test says otherwise, whatever users this machine has.
 */
export function cleanSettings(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter(name => name.startsWith('NIX_IPFS_'))
  return { ...Object.fromEntries(names.map(name => [name, undefined])), NIX_IPFS_USER: 'root' }
}

/** Ends a child with `signal`, and with SIGKILL if that took no effect within `patience` milliseconds. */
export async function stopProcess(
  child: ChildProcess,
  signal: NodeJS.Signals = 'SIGTERM',
  patience = 20_000,
): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>(resolve => child.once('exit', () => resolve()))
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), patience)
  await ended
  clearTimeout(timer)
}
