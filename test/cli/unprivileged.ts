import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import type { TestScope } from '../helpers/cleanup.ts'
import { checkout, cleanSettings, cliProgram, type RunOptions, type RunResult, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'

export interface Unprivileged {
  /** A folder that belongs to that user. */
  readonly home: string
  cli(args: readonly string[], options?: RunOptions): Promise<RunResult>
}

/**
 * Runs the program as user and group 65534, who has no rights at all. Checkout and Node may lie where only root can
 * read, so both are bound into a folder of a private mount namespace. Needs root.
 */
export async function unprivileged(t: TestScope): Promise<Unprivileged> {
  const work = tempFolder(t, 'user')
  chmodSync(work, 0o755)
  const script = [
    'set -e',
    'mount -t tmpfs -o mode=755 none "$1/bound"; mkdir "$1/bound/package"; touch "$1/bound/node"',
    'mount --bind "$2" "$1/bound/package"; mount --bind "$3" "$1/bound/node"',
    'node="$1/bound/node" program="$1/bound/package/$4"; shift 4',
    'exec setpriv --reuid=65534 --regid=65534 --clear-groups "$node" "$program" "$@"',
  ].join('\n')
  const home = join(work, 'home')
  await run('sh', ['-c', 'mkdir "$0" "$1" && chown 65534:65534 "$1"', join(work, 'bound'), home])
  const fixed = [
    '-m',
    'sh',
    '-c',
    script,
    'sh',
    work,
    checkout,
    process.execPath,
    cliProgram.slice(checkout.length + 1),
  ]
  const env = { ...cleanSettings(), HOME: home, XDG_DATA_HOME: undefined }
  return {
    home,
    cli: (args, options = {}) =>
      run('unshare', [...fixed, ...args], { ...options, env: { ...env, ...options.env }, cwd: options.cwd ?? '/' }),
  }
}
