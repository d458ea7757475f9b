import type { CommandModule } from 'yargs'
import { UsageError } from '../../errors.ts'
import type { ValidPath } from '../../nix/local-store.ts'
import { fullPath, isValidName } from '../../nix/store-path.ts'
import type { Added, Ingest } from '../../store/ingest.ts'
import { openNar, planSources, type Source, validPathsAmong, type WhatToAdd } from '../add-sources.ts'
import { configOf } from '../arguments.ts'
import { openStore } from '../compose.ts'
import type { Config, GlobalArguments } from '../config.ts'
import { becomeIdentity } from '../identity.ts'
import { pathFields, printJson, printLine } from '../output.ts'
import { readValidPaths, validPathsText } from '../passed-paths.ts'
import { showProgress } from '../progress.ts'
import { rerunReadingOthers } from '../rerun.ts'
import { stateIdentity } from '../state-user.ts'

interface AddArguments extends GlobalArguments, WhatToAdd {
  '--'?: string[]
  pin: boolean
  [VALID_PATHS]: number | undefined
}

const VALID_PATHS = 'valid-paths'

export const addCommand: CommandModule<GlobalArguments, AddArguments> = {
  command: 'add [path..]',
  describe: 'Add store paths, or any files and folders as content-addressed paths',
  builder: yargs =>
    yargs
      .positional('path', {
        type: 'string',
        array: true,
        default: [],
        describe: 'Valid store path, or any file or folder',
      })
      .option('closure', { type: 'boolean', default: false, describe: 'Also everything the store paths refer to' })
      .option('name', { type: 'string', describe: 'Name of the path to make [the last component]' })
      .option('nar', { type: 'string', nargs: 1, describe: 'Add the contents of a NAR file, - for standard input' })
      .option(VALID_PATHS, {
        type: 'number',
        hidden: true,
        describe: 'Descriptor to read from what Nix says of the store paths',
      })
      .option('pin', { type: 'boolean', default: true, describe: 'Pin what is added; --no-pin leaves it to gc' })
      .example('$0 add --closure /nix/store/...-hello-2.12', 'a program with all it needs')
      .example('$0 add ./src --name my-source', 'a folder, as nix store add-path names it')
      .example('nix-store --dump ./src | $0 add --nar - --name my-source', 'from a NAR'),
  handler: async argv => {
    const config = configOf(argv)
    argv.path = [...argv.path, ...(argv['--'] ?? [])]
    check(argv)
    const identity = stateIdentity(config)
    const nar = argv.nar === undefined ? undefined : openNar(argv.nar, argv.name!)
    if (identity !== undefined && nar === undefined) {
      // Only root may ask Nix everywhere; who reads files and writes the state is another process.
      const text = validPathsText(await validPathsAmong(argv))
      return rerunReadingOthers(identity, config, { option: VALID_PATHS, text })
    }
    if (identity !== undefined) becomeIdentity(identity)
    const store = openStore(config)
    const ingest = store.ingest({ pin: argv.pin })
    const endProgress = await showProgress(ingest.progress, { enabled: !config.json })
    try {
      const sources = nar === undefined ? planSources(argv, await validPaths(argv)) : [nar]
      await store.checkBlocks()
      await addAll(ingest, sources, config)
    } finally {
      endProgress()
      await ingest.close()
      await store.close()
    }
  },
}

function validPaths(argv: AddArguments): Promise<ValidPath[]> | ValidPath[] {
  const fd = argv[VALID_PATHS]
  return fd === undefined ? validPathsAmong(argv) : readValidPaths(fd)
}

function check({ path, name, nar, closure }: AddArguments): void {
  if (nar !== undefined) {
    if (path.length > 0 || closure) throw new UsageError('add --nar takes neither paths nor --closure')
    if (name === undefined) throw new UsageError('add --nar needs --name NAME')
  } else if (path.length === 0) {
    throw new UsageError('add needs a path, or --nar FILE --name NAME')
  }
  if (path.includes('')) throw new UsageError('add: an empty path')
  if (name !== undefined && path.length > 1) throw new UsageError('--name goes with one path')
  if (name !== undefined && closure) throw new UsageError('--name makes a new path, which has no --closure')
  if (name !== undefined && !isValidName(name))
    throw new UsageError(
      `--name ${JSON.stringify(name)} is not a store path's name (letters, digits and +-._?=, at most 211)`,
    )
}

async function addAll(ingest: Ingest, sources: Source[], config: Config): Promise<void> {
  const show = async (added: Added[]) => {
    for (const path of added) {
      if (config.json) await printJson({ ...pathFields(path), new: path.isNew })
      else await printLine(fullPath(path.baseName))
    }
  }
  try {
    for (const source of sources) {
      await source(ingest)
      if (ingest.due) await show(await ingest.commit())
    }
  } finally {
    // Also after a failure: the paths before it are whole.
    await show(await ingest.commit())
  }
}
