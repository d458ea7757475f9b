import { createReadStream, lstatSync, realpathSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import type { CommandModule } from 'yargs'
import { RefusedError, UsageError } from '../../errors.ts'
import { ourMountBelow } from '../../fs/mountinfo.ts'
import { queryValidPaths } from '../../nix/local-store.ts'
import { fullPath, isBaseName, isValidName, STORE_DIR } from '../../nix/store-path.ts'
import type { Added, Ingest } from '../../store/ingest.ts'
import { configOf } from '../arguments.ts'
import { openStore } from '../compose.ts'
import type { Config, GlobalArguments } from '../config.ts'
import { pathFields, printJson, printLine } from '../output.ts'
import { showProgress } from '../progress.ts'

interface AddArguments extends GlobalArguments {
  path: string[]
  closure: boolean
  name: string | undefined
  nar: string | undefined
  pin: boolean
}

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
      .option('nar', { type: 'string', describe: 'Add the contents of a NAR file, - for standard input' })
      .option('pin', { type: 'boolean', default: true, describe: 'Pin what is added; --no-pin leaves it to gc' })
      .example('$0 add --closure /nix/store/...-hello-2.12', 'a program with all it needs')
      .example('$0 add ./src --name my-source', 'a folder, as nix store add-path names it')
      .example('nix-store --dump ./src | $0 add --nar - --name my-source', 'from a NAR'),
  handler: async argv => {
    const config = configOf(argv)
    check(argv)
    const store = openStore(config)
    const ingest = store.ingest({ pin: argv.pin })
    const endProgress = showProgress(ingest.progress, { enabled: !config.json })
    try {
      const sources = await planSources(argv)
      await store.checkBlocks()
      await addAll(ingest, sources, config)
    } finally {
      endProgress()
      await ingest.close()
      await store.close()
    }
  },
}

function check({ path, name, nar, closure }: AddArguments): void {
  if (nar !== undefined) {
    if (path.length > 0 || closure) throw new UsageError('add --nar takes neither paths nor --closure')
    if (name === undefined) throw new UsageError('add --nar needs --name NAME')
  } else if (path.length === 0) {
    throw new UsageError('add needs a path, or --nar FILE --name NAME')
  }
  if (name !== undefined && path.length > 1) throw new UsageError('--name goes with one path')
  if (name !== undefined && closure) throw new UsageError('--name makes a new path, which has no --closure')
  if (name !== undefined && !isValidName(name))
    throw new UsageError(
      `--name ${JSON.stringify(name)} is not a store path's name (letters, digits and +-._?=, at most 211)`,
    )
}

/** One path to add, ready to be read. */
type Source = (ingest: Ingest) => Promise<void>

/** Looks at every argument before the first is read, so that a mistake in the last one adds nothing. */
async function planSources({ path: paths, name, nar, closure }: AddArguments): Promise<Source[]> {
  if (nar !== undefined) {
    const input = nar === '-' ? process.stdin : createReadStream(nar, { highWaterMark: 1024 * 1024 })
    return [ingest => ingest.addNar(input, name!)]
  }
  const inStore = new Map(paths.map(path => [path, name === undefined ? storePathOf(path) : undefined]))
  const baseNames = [...inStore.values()].filter(baseName => baseName !== undefined)
  if (closure && baseNames.length < paths.length) throw new UsageError('--closure goes with store paths only')
  const folders = paths.filter(path => inStore.get(path) === undefined)
  const sources = folders.map(path => folderSource(path, name))
  for (const valid of baseNames.length > 0 ? await queryValidPaths(baseNames.map(fullPath), { closure }) : []) {
    const folder = fullPath(valid.baseName)
    refuseOurOwn(folder)
    sources.push(ingest => ingest.addValidPath(valid, folder))
  }
  return sources
}

function folderSource(path: string, given: string | undefined): Source {
  const absolute = resolve(path)
  const name = given ?? basename(absolute)
  if (!isValidName(name))
    throw new UsageError(
      `${path}: ${JSON.stringify(name)} is not a store path's name (letters, digits and +-._?=, at most 211); give one with --name`,
    )
  try {
    lstatSync(absolute)
  } catch (cause) {
    throw new RefusedError(`${path}: cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause })
  }
  return ingest => ingest.addFolder(absolute, name)
}

/** The base name, where the argument is a path directly in the Nix store, or a symlink to one as `nix build` leaves it. */
function storePathOf(path: string): string | undefined {
  let target = resolve(path)
  if (dirname(target) !== STORE_DIR) {
    try {
      if (lstatSync(target).isSymbolicLink()) target = realpathSync(target)
    } catch {
      return undefined
    }
  }
  return dirname(target) === STORE_DIR && isBaseName(basename(target)) ? basename(target) : undefined
}

/** What our own mount shows vouches for nothing: the Nix database's word counts only for files that Nix keeps. */
function refuseOurOwn(folder: string): void {
  const mount = ourMountBelow(folder)
  if (mount !== undefined)
    throw new RefusedError(
      `${folder}: is served by the nix-ipfs-mount mount at ${mount.mountpoint}, so it cannot be added from there`,
    )
}

async function addAll(ingest: Ingest, sources: Source[], config: Config): Promise<void> {
  const show = (added: Added[]) => {
    for (const path of added) {
      if (config.json) printJson({ ...pathFields(path), new: path.isNew })
      else printLine(fullPath(path.baseName))
    }
  }
  try {
    for (const source of sources) {
      await source(ingest)
      if (ingest.due) show(await ingest.commit())
    }
  } finally {
    // Also after a failure: the paths before it are whole.
    show(await ingest.commit())
  }
}
