import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { onCleanup, type TestScope } from './cleanup.ts'
import { cleanSettings, cliProgram, type RunOptions, type RunResult, run, stopProcess } from './run.ts'

/** A mount namespace with a /run of its own, where no running mount is known but those that were started in it. */
export interface Apart {
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** The command line program. */
  cli(args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** Words that run what follows them there. */
  readonly enter: readonly string[]
}

/** Lasts as long as the scope. */
export async function setApart(t: TestScope): Promise<Apart> {
  const script = 'mount -t tmpfs none /run && echo ready && exec sleep infinity'
  const holder = spawn('unshare', ['-m', '--propagation', 'private', 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onCleanup(t, () => stopProcess(holder, 'SIGKILL'))
  await once(holder.stdout, 'data', { signal: AbortSignal.timeout(30_000) })
  const enter = ['nsenter', '-m', '-t', `${holder.pid}`]
  const [command, ...words] = enter
  return {
    enter,
    run: (program, args, options) => run(command!, [...words, program, ...args], options),
    cli: (args, options) =>
      run(command!, [...words, process.execPath, cliProgram, ...args], {
        ...options,
        env: { ...cleanSettings(), ...options?.env },
      }),
  }
}
