import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, realpathSync, rmdirSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CommandModule } from 'yargs'
import { mountAt } from '../../fs/mountinfo.ts'
import { lazyUnmount } from '../../fs/mountpoint.ts'
import { type Ended, runInNamespace } from '../../fs/namespace.ts'
import { configOf } from '../arguments.ts'
import type { Config, GlobalArguments } from '../config.ts'
import { startMountServer } from '../mount-server.ts'

interface RunArguments extends GlobalArguments {
  program: string
  '--'?: string[]
}

export const runCommand: CommandModule<GlobalArguments, RunArguments> = {
  command: 'run <program>',
  describe: 'Run a program that sees the store at /nix/store; its arguments follow --',
  builder: yargs =>
    yargs
      .positional('program', {
        type: 'string',
        demandOption: true,
        describe: 'Path of a program in the store, or any other',
      })
      .example('$0 run /nix/store/...-hello-2.12/bin/hello', 'its interpreter and libraries come from the store too')
      .example('$0 run /nix/store/...-bash-5.2/bin/bash -- -c "ls /nix/store"', 'with arguments'),
  handler: async argv => {
    const config = configOf(argv)
    const mountpoint = realpathSync(mkdtempSync(join(tmpdir(), 'nix-ipfs-mount-run-')))
    try {
      // FUSE's descriptor must not reach the program, so the mount is a process of its own.
      const server = await startMountServer(config, [mountpoint, ...serverOptions(config)], { bound: true })
      try {
        const ended = await runInNamespace({ mountpoint, program: argv.program, args: argv['--'] ?? [] })
        process.exitCode = exitStatus(ended)
      } finally {
        await endServer(server.child, mountpoint)
      }
    } finally {
      // The server removes it too, should this process be gone.
      if (existsSync(mountpoint)) rmdirSync(mountpoint)
    }
  },
}

/** Also one that has ended before, and then left its mount behind. */
async function endServer(server: ChildProcess, mountpoint: string): Promise<void> {
  if (server.exitCode === null && server.signalCode === null) {
    const gone = once(server, 'exit')
    server.kill('SIGTERM')
    await gone
  }
  if (mountAt(mountpoint) !== undefined) await lazyUnmount(mountpoint)
}

function serverOptions({ state, blocks, deadline, user }: Config): string[] {
  const given = Object.entries({ blocks, user }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  )
  return ['--state', state, '--deadline', String(deadline), ...given]
}

/** As a shell shows it. */
function exitStatus({ code, signal }: Ended): number {
  return code ?? 128 + constants.signals[signal!]
}
