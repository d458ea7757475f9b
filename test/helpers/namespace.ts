import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { onCleanup, type TestScope } from './cleanup.ts'
import { cleanSettings, cliProgram, type RunOptions, type RunResult, run, stopProcess } from './run.ts'
import { tempFolder } from './temp.ts'

/** A mount namespace that stays until its scope ends: what is mounted in it can be looked at, and is not the machine's. */
export interface Namespace {
  /** For temporary files of the programs in it (TMPDIR), and the home of its user; theirs and empty. */
  readonly temporary: string
  /** Starts `nix-ipfs-mount <args>` in it. Killed at the end, should it still run. */
  start(args: readonly string[], command?: readonly string[]): ChildProcessWithoutNullStreams
  /** Runs `nix-ipfs-mount <args>` in it, behind a command that runs it in its turn where there is one. */
  cli(args: readonly string[], options?: RunOptions, command?: readonly string[]): Promise<RunResult>
  /** Runs any command in it. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** Lines of its mount table whose mount points are below {@link temporary}. */
  mounts(): string[]
  /** Command lines of the program's processes that are alive, in namespaces below this one too. */
  processes(): string[]
}

export interface NamespaceOptions {
  /** Bound at /nix. */
  nix: string
  /** User and group id of all that runs in it; root if not given. */
  user?: number
}

/**
 * A namespace with a /nix of its own and a /dev/fuse that everybody may open, as udev makes it on an ordinary machine.
 * Checkout and Node may lie where only root can read, so they are bound where everybody can. Needs root.
 */
export async function mountNamespace(t: TestScope, { nix, user = 0 }: NamespaceOptions): Promise<Namespace> {
  const work = tempFolder(t, 'namespace')
  const temporary = join(work, 'temporary')
  mkdirSync(temporary)
  chownSync(temporary, user, user)
  mkdirSync(join(work, 'bound'))
  const script = [
    'set -e; mount -t tmpfs -o mode=755 none "$1/bound"; cd "$1/bound"',
    'mkdir package; touch node; mknod -m 666 fuse c 10 229; mount --bind fuse /dev/fuse',
    'mount --bind "$2" package; mount --bind "$3" node; cd /',
    'mkdir -p /nix; mount --bind "$4" /nix',
    // Until this process ends, whatever way.
    'echo ready; exec cat >/dev/null',
  ].join('\n')
  const checkout = packageRoot(cliProgram)
  const holder = spawn('unshare', ['-m', 'sh', '-c', script, 'sh', work, checkout, process.execPath, nix])
  onCleanup(t, async () => {
    for (const pid of processesOf(temporary)) process.kill(pid, 'SIGKILL')
    await stopProcess(holder, 'SIGKILL')
  })
  const failed = once(holder, 'exit').then(() => Promise.reject(new Error('the namespace could not be made')))
  await Promise.race([once(holder.stdout, 'data'), failed])
  failed.catch(() => {})
  const enter = ['-m', '-t', `${holder.pid}`, '--', 'setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups']
  const program = [join(work, 'bound', 'node'), join(work, 'bound', 'package', cliProgram.slice(checkout.length + 1))]
  const env = { ...cleanSettings(), HOME: temporary, TMPDIR: temporary, XDG_DATA_HOME: undefined, LC_ALL: 'C' }
  const inside = (command: string, args: readonly string[], options: RunOptions = {}) =>
    run('nsenter', [...enter, command, ...args], { ...options, env: { ...env, ...options.env } })
  return {
    temporary,
    start: (args, command = []) => {
      const child = spawn('nsenter', [...enter, ...command, ...program, ...args], { env: { ...process.env, ...env } })
      child.stdin.on('error', () => {})
      onCleanup(t, () => stopProcess(child, 'SIGKILL'))
      return child
    },
    cli: (args, options, command = []) => {
      const [first, ...rest] = [...command, ...program, ...args]
      return inside(first!, rest, options)
    },
    run: inside,
    mounts: () =>
      readFileSync(`/proc/${holder.pid}/mountinfo`, 'utf8')
        .split('\n')
        .filter(line => line.split(' ')[4]?.startsWith(`${temporary}/`)),
    processes: () => processesOf(temporary).map(pid => `${pid} ${commandLine(pid)}`),
  }
}

/** Nothing of a command is left: no mount, no process, no folder. */
export function assertNothingLeft({ temporary, mounts, processes }: Namespace): void {
  assert.deepEqual(mounts(), [])
  assert.deepEqual(processes(), [])
  assert.deepEqual(readdirSync(temporary), [])
}

/** Processes with this TMPDIR, but not those that have ended and wait for their parent. */
function processesOf(temporary: string): number[] {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name)) return []
    try {
      return readFileSync(`/proc/${name}/environ`, 'latin1').split('\0').includes(`TMPDIR=${temporary}`)
        ? [Number(name)]
        : []
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}

/** The folder with package.json that the compiled program belongs to. */
function packageRoot(file: string): string {
  let folder = dirname(file)
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return folder
}
