import { once } from 'node:events'
import { mkdtempSync, realpathSync, rmdirSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CommandModule } from 'yargs'
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
        const gone = once(server.child, 'exit')
        server.child.kill('SIGTERM')
        await gone
      }
    } finally {
      rmdirSync(mountpoint)
    }
  },
}

function serverOptions({ state, blocks, deadline }: Config): string[] {
  return ['--state', state, ...(blocks === undefined ? [] : ['--blocks', blocks]), '--deadline', String(deadline)]
}

/** As a shell shows it. */
function exitStatus({ code, signal }: Ended): number {
  return code ?? 128 + constants.signals[signal!]
}
