import type { CommandModule } from 'yargs'
import { narChunks } from '../../store/nar-source.ts'
import { checkPathArguments, configOf } from '../arguments.ts'
import { openStore } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { writeBytes } from '../output.ts'
import { becomeStateUser } from '../state-user.ts'

interface NarArguments extends GlobalArguments {
  path: string
}

export const narCommand: CommandModule<GlobalArguments, NarArguments> = {
  command: 'nar <path>',
  describe: 'Print the NAR of a store path, as nix-store --dump does',
  builder: yargs =>
    yargs
      .positional('path', {
        type: 'string',
        demandOption: true,
        describe: 'Store path: full path, base name or hash part',
      })
      .example('$0 nar /nix/store/...-hello-2.12 | nix-store --restore ./hello', 'unpack it elsewhere'),
  handler: async argv => {
    const config = configOf(argv)
    checkPathArguments([argv.path])
    becomeStateUser(config)
    const store = openStore(config, { readOnly: true })
    try {
      for await (const bytes of narChunks(store.reader, store.reader.path(argv.path))) await writeBytes(bytes)
    } finally {
      await store.close()
    }
  },
}
