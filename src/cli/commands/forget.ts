import type { CommandModule } from 'yargs'
import { RefusedError } from '../../errors.ts'
import { fullPath } from '../../nix/store-path.ts'
import { checkPathArguments, configOf, storePaths } from '../arguments.ts'
import { openStore, type Store } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'

interface ForgetArguments extends GlobalArguments {
  path: string[]
  force: boolean
}

export const forgetCommand: CommandModule<GlobalArguments, ForgetArguments> = {
  command: 'forget <path..>',
  describe: 'Remove store paths from the store; their blocks stay until gc',
  builder: yargs =>
    storePaths(yargs)
      .option('force', { type: 'boolean', default: false, describe: 'Also where other paths refer to them' })
      .example('$0 forget /nix/store/...-hello-2.12', 'it is gone from the mount at once'),
  handler: async argv => {
    const config = configOf(argv)
    checkPathArguments(argv.path)
    const store = openStore(config)
    try {
      const baseNames = argv.path.map(path => store.reader.path(path).baseName)
      if (!argv.force) refuseReferenced(store, new Set(baseNames))
      for (const baseName of baseNames) store.index.forget(baseName)
      await store.index.flushed()
      for (const baseName of baseNames) {
        if (config.json) printJson({ path: fullPath(baseName) })
        else printLine(fullPath(baseName))
      }
    } finally {
      await store.close()
    }
  },
}

/** A path that stays must keep what it refers to. */
function refuseReferenced({ index }: Store, leaving: ReadonlySet<string>): void {
  for (const { baseName, references } of index.paths()) {
    const needed = leaving.has(baseName) ? undefined : references.find(reference => leaving.has(reference))
    if (needed !== undefined) {
      throw new RefusedError(
        `${fullPath(needed)}: ${fullPath(baseName)} refers to it; forget that one too, or use --force`,
      )
    }
  }
}
