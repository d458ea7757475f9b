import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { onCleanup, type TestScope } from './cleanup.ts'
import { checkout, cleanSettings, cliProgram, type RunOptions, type RunResult, run, stopProcess } from './run.ts'
import { tempFolder } from './temp.ts'

/** Whom root's program runs as; no number that a machine is likely to use. */
export const SYSTEM_USER = { name: 'nix-ipfs-mount', uid: 61_234, gid: 61_235 } as const

/** A mount namespace in which the user `nix-ipfs-mount` exists. */
export interface UserMachine {
  /** The command that runs the command behind it in there, as root. */
  readonly enter: readonly [command: string, ...args: string[]]
  /** Node and the program, where everybody may read them. */
  readonly program: readonly [node: string, script: string]
  /** The environment in which the program is told nothing of users. */
  readonly env: NodeJS.ProcessEnv
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** Runs `nix-ipfs-mount <args>` as root. */
  cli(args: readonly string[], options?: RunOptions): Promise<RunResult>
}

/**
 * The machine as it is, with one user more: copies of its user and group lists are bound over them, checkout and Node
 * where everybody may read them, and `nix` at /nix where it is given. With `user: false` only the group is new. It ends with the test. Needs root.
 */
export async function userMachine(
  t: TestScope,
  { nix, user = true }: { nix?: string; user?: boolean } = {},
): Promise<UserMachine> {
  const work = tempFolder(t, 'machine')
  const { name, uid, gid } = SYSTEM_USER
  for (const list of ['passwd', 'group']) copyFileSync(join('/etc', list), join(work, list))
  if (user) appendFileSync(join(work, 'passwd'), `${name}:x:${uid}:${gid}::/var/lib/${name}:/usr/sbin/nologin\n`)
  appendFileSync(join(work, 'group'), `${name}:x:${gid}:\n`)
  const script = [
    'set -e',
    'for list in passwd group; do mount --bind "$1/$list" "/etc/$list"; done',
    'mkdir "$1/bound"; mount -t tmpfs -o mode=755 none "$1/bound"; cd "$1/bound"; mkdir package; touch node',
    'mount --bind "$2" package; mount --bind "$3" node; cd /',
    'if [ -n "$4" ]; then mkdir -p /nix; mount --bind "$4" /nix; fi',
    'echo ready; exec sleep infinity',
  ].join('\n')
  const holder = spawn('unshare', ['-m', 'sh', '-c', script, 'sh', work, checkout, process.execPath, nix ?? ''], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onCleanup(t, () => stopProcess(holder, 'SIGKILL'))
  const ended = once(holder, 'exit').then(() => {
    throw new Error('the namespace could not be made')
  })
  await Promise.race([once(holder.stdout, 'data'), ended])
  ended.catch(() => {})
  const bound = join(work, 'bound')
  const enter = ['nsenter', '-m', '-t', `${holder.pid}`, '--'] as const
  const program = [join(bound, 'node'), join(bound, 'package', cliProgram.slice(checkout.length + 1))] as const
  const env = { ...cleanSettings(), NIX_IPFS_USER: undefined }
  const inside = (command: string, args: readonly string[], options: RunOptions = {}) =>
    run(enter[0], [...enter.slice(1), command, ...args], { ...options, env: { ...env, ...options.env } })
  return {
    enter: [...enter],
    program,
    env,
    run: inside,
    cli: (args, options) => inside(program[0], [program[1], ...args], options),
  }
}
