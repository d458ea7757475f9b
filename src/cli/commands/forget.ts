import type { CommandModule } from 'yargs'
import { cidText } from '../../cid.ts'
import { RefusedError } from '../../errors.ts'
import type { PathRecord } from '../../index/types.ts'
import { fullPath } from '../../nix/store-path.ts'
import { blockRoots } from '../../store/ingest.ts'
import { checkPathArguments, configOf, storePaths } from '../arguments.ts'
import { openStore, type Store } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'
import { refuseBelowOverlay } from '../overlay-check.ts'
import { becomeStateUser } from '../state-user.ts'

interface ForgetArguments extends GlobalArguments {
  path: string[]
  force: boolean
}

export const forgetCommand: CommandModule<GlobalArguments, ForgetArguments> = {
  command: 'forget <path..>',
  describe: 'Remove store paths from the store; their blocks stay until gc',
  builder: yargs =>
    storePaths(yargs)
      .option('force', {
        type: 'boolean',
        default: false,
        describe:
          'Also where other paths refer to them, or an overlay above a running mount may have looked them up: it then goes on with what it knew until it is mounted again',
      })
      .example('$0 forget /nix/store/...-hello-2.12', 'it is gone from the mount at once'),
  handler: async argv => {
    const config = configOf(argv)
    checkPathArguments(argv.path)
    if (!argv.force) await refuseBelowOverlay(config.state, argv.path[0]!)
    becomeStateUser(config)
    const store = openStore(config)
    try {
      const records = argv.path.map(path => store.reader.path(path))
      const baseNames = records.map(({ baseName }) => baseName)
      if (!argv.force) refuseReferenced(store, new Set(baseNames))
      for (const baseName of baseNames) store.index.forget(baseName)
      await store.index.flushed()
      await unpinBlocks(store, records)
      for (const baseName of baseNames) {
        if (config.json) await printJson({ path: fullPath(baseName) })
        else await printLine(fullPath(baseName))
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

/** Lets the block store's own garbage collection have what no other path shares. */
async function unpinBlocks({ index, blockPins }: Store, forgotten: readonly PathRecord[]): Promise<void> {
  if (blockPins === undefined) return
  const leaving = new Map(forgotten.flatMap(blockRoots).map(cid => [cidText(cid), cid]))
  for (const record of index.paths()) for (const cid of blockRoots(record)) leaving.delete(cidText(cid))
  await blockPins.remove([...leaving.values()])
}
