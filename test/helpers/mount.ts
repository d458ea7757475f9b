import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, chownSync, existsSync, lchownSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { runtimeFolder } from '../../src/cli/runtime.ts'
import { askControl, runtimePath } from '../../src/fs/control.ts'
import type { MountStatus } from '../../src/fs/status.ts'
import { onCleanup, type TestScope } from './cleanup.ts'
import { checkout, cleanSettings, cliProgram, type RunOptions, type RunResult, run, stopProcess } from './run.ts'
import { isMounted, tempFolder, unmountLazily } from './temp.ts'

export interface MountOptions {
  /** State folder. */
  state: string
  /** Where; a new temporary folder if not given. */
  mountpoint?: string
  /** Further arguments of the command. */
  args?: readonly string[]
  env?: NodeJS.ProcessEnv
  /** Another copy of the program. */
  program?: string
  /**
   * Mounts as this user and group id, in a mount namespace of its own where /dev/fuse is open to everybody, as udev
   * makes it on an ordinary machine. State folder and mount point are given to that user. Needs root.
   */
  user?: number
  /** Milliseconds to wait for the mount; 30 s if not given. */
  timeout?: number
}

export interface Mount {
  /** The server process itself; signals reach it directly. */
  readonly child: ChildProcess
  readonly folder: string
  /** What it has said so far. */
  stderr(): string
  stdout(): string
  /**
   * Runs a command that may touch the mount: as its user and in its mount namespace. The test process itself must
   * not touch it, since a blocked synchronous call could not be interrupted.
   */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** As {@link run}, an Error if it fails; its stdout. */
  output(command: string, args: readonly string[], options?: RunOptions): Promise<Buffer>
  /** What it says of itself on its control socket. */
  status(): Promise<MountStatus>
  /** Ends the server and gives its exit status, null if it had to be killed; also done after the test. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/**
 * Runs `nix-ipfs-mount <mountpoint> --state <state>` and waits until it says that it is mounted. Throws an Error with
 * its stderr if it ends or takes too long. After the test the server is stopped, and whatever is still mounted goes.
 */
export async function mountStore(t: TestScope, options: MountOptions): Promise<Mount> {
  const { state, user, timeout = 30_000 } = options
  const folder = options.mountpoint ?? tempFolder(t, 'mount')
  const args = [folder, '--state', state, ...(options.args ?? [])]
  const [command, ...prefix] = user === undefined ? ['setpriv', '--pdeathsig', 'TERM'] : asUser(t, user, folder, state)
  const program = user === undefined ? [process.execPath, options.program ?? cliProgram] : []
  const child = spawn(command!, [...prefix, ...program, ...args], {
    env: { ...process.env, ...cleanSettings(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  const stop = async (signal?: NodeJS.Signals) => {
    await stopProcess(child, signal)
    return child.exitCode
  }
  onCleanup(t, async () => {
    await stop()
    if (isMounted(folder)) unmountLazily(folder)
  })
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`${folder} was not mounted: ${why}: ${stderr.trim()}`))
    const timer = setTimeout(() => fail(`not after ${timeout} ms`), timeout)
    child.stdout.on('data', () => {
      if (!stdout.split('\n').includes(`mounted ${folder}`)) return
      clearTimeout(timer)
      resolve()
    })
    child.once('error', error => fail(error.message))
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      fail(`ended with ${signal ?? `status ${code}`}`)
    })
  })
  const runInside = (command: string, args: readonly string[], options?: RunOptions) =>
    user === undefined
      ? run(command, args, options)
      : run('nsenter', ['-m', '-t', `${child.pid}`, ...dropTo(user), command, ...args], options)
  return {
    child,
    folder,
    stdout: () => stdout,
    stderr: () => stderr,
    run: runInside,
    output: async (command, args, options) => {
      const result = await runInside(command, args, options)
      if (result.code === 0) return result.stdout
      throw new Error(`${command} ${args.join(' ')}: ${result.signal ?? `status ${result.code}`}: ${result.stderr}`)
    },
    status: async () => {
      const answer = await askControl(runtimePath(runtimeFolder(process.env)!, folder, 'sock'), 'status')
      if (answer?.ok !== true || answer.status === undefined)
        throw new Error(`${folder}: the mount does not say what it does`)
      return answer.status
    },
    stop,
  }
}

function dropTo(user: number): string[] {
  return ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups']
}

/**
 * The command that runs the program as another user. Checkout and Node may lie where only root can read, so both are
 * bound into a file system of the namespace; so is a device node that everybody may open.
 */
function asUser(t: TestScope, user: number, mountpoint: string, state: string): string[] {
  const work = tempFolder(t, 'user')
  if (existsSync(mountpoint)) chownSync(mountpoint, user, user)
  mkdirSync(state, { recursive: true })
  giveTo(state, user)
  const script = [
    'set -e',
    'mount -t tmpfs -o mode=755 none "$1"',
    'mkdir "$1/package" "$1/home"; touch "$1/node"; mknod -m 666 "$1/fuse" c 10 229',
    'chmod 777 "$1/home"; export HOME="$1/home"',
    'mount --bind "$2" "$1/package"; mount --bind "$3" "$1/node"; mount --bind "$1/fuse" /dev/fuse',
    'program="$1/package/$4" node="$1/node"; shift 4',
    `exec ${dropTo(user).join(' ')} --pdeathsig TERM "$node" "$program" "$@"`,
  ].join('\n')
  const program = cliProgram.slice(checkout.length + 1)
  return ['unshare', '-m', 'sh', '-c', script, 'sh', work, checkout, process.execPath, program]
}

function giveTo(path: string, user: number): void {
  lchownSync(path, user, user)
  chmodSync(path, 0o700)
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const below = join(path, entry.name)
    if (entry.isDirectory()) giveTo(below, user)
    else lchownSync(below, user, user)
  }
}
