import type { CommandModule } from 'yargs'
import { bytesToText } from '../../bytes.ts'
import { cidText } from '../../cid.ts'
import { UnknownPathError } from '../../errors.ts'
import { modeOf } from '../../fs/attributes.ts'
import type { NodeEntry } from '../../index/types.ts'
import { printable } from '../../log.ts'
import { fullPath } from '../../nix/store-path.ts'
import { cidOfNode } from '../../store/reader.ts'
import { configOf, parsePathArgument } from '../arguments.ts'
import { openStore, type Store } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { printParts } from '../output.ts'
import { becomeStateUser } from '../state-user.ts'

interface LsArguments extends GlobalArguments {
  path: string | undefined
  long: boolean
  recursive: boolean
}

/** As Nix's own listings name them. */
const typeNames = { directory: 'directory', file: 'regular', symlink: 'symlink' } as const

interface Row {
  entry: NodeEntry
  /** Below what was asked for; empty for itself. */
  path: string
}

export const lsCommand: CommandModule<GlobalArguments, LsArguments> = {
  command: 'ls [path]',
  describe: 'List the paths that are known, or what is in one, without a mount',
  builder: yargs =>
    yargs
      .positional('path', { type: 'string', describe: 'Store path, or a folder or file below one' })
      .option('long', { alias: 'l', type: 'boolean', default: false, describe: 'With mode, size and target' })
      .option('recursive', { alias: 'R', type: 'boolean', default: false, describe: 'Also what lies below' })
      .example('$0 ls', 'base names of all paths')
      .example('$0 ls -lR /nix/store/...-hello-2.12/bin', 'a folder and all below it'),
  handler: async argv => {
    const config = configOf(argv)
    becomeStateUser(config)
    const store = openStore(config, { readOnly: true })
    try {
      const rows =
        argv.path === undefined ? listPaths(store, argv.recursive) : listBelow(store, argv.path, argv.recursive)
      if (config.json) await printParts(jsonArray(rows, row => describe(store, row, argv.recursive)))
      else await printParts(lines(rows, row => line(store, row, argv)))
    } finally {
      await store.close()
    }
  },
}

function* listPaths(store: Store, recursive: boolean): Generator<Row> {
  for (const record of store.index.paths()) {
    const entry = store.reader.rootEntry(record)
    yield { entry, path: record.baseName }
    if (recursive && entry.kind === 'directory') yield* store.reader.below(entry, `${record.baseName}/`)
  }
}

function* listBelow(store: Store, argument: string, recursive: boolean): Generator<Row> {
  const { path, names } = parsePathArgument(argument)
  const record = store.reader.path(path)
  const entry = store.reader.descend(record, names)
  if (entry === undefined)
    throw new UnknownPathError(`${fullPath(record.baseName)}/${names.map(bytesToText).join('/')}: does not exist`)
  if (entry.kind !== 'directory') yield { entry, path: bytesToText(entry.name) }
  else if (recursive) yield* store.reader.below(entry)
  else for (const child of store.index.entries(entry.id, 0)) yield { entry: child, path: bytesToText(child.name) }
}

function* lines(rows: Iterable<Row>, text: (row: Row) => string): Generator<string> {
  for (const row of rows) yield `${text(row)}\n`
}

/** One document, without all of it in memory. */
function* jsonArray(rows: Iterable<Row>, value: (row: Row) => unknown): Generator<string> {
  let separator = '['
  for (const row of rows) {
    yield separator + JSON.stringify(value(row))
    separator = ','
  }
  yield separator === '[' ? '[]\n' : ']\n'
}

function describe(store: Store, { entry, path }: Row, recursive: boolean) {
  const node = store.reader.node(entry.id)
  const target = node.kind === 'symlink' ? node.target : undefined
  return {
    ...(recursive ? { path } : {}),
    name: bytesToText(entry.name),
    type: typeNames[entry.kind],
    size: entry.size,
    executable: entry.executable,
    target: target === undefined ? null : bytesToText(target),
    cid: cidText(cidOfNode(node)),
  }
}

function line(store: Store, { entry, path }: Row, { long, recursive }: LsArguments): string {
  const shown = recursive ? path : bytesToText(entry.name)
  if (!long) return printable(shown)
  const node = entry.kind === 'symlink' ? store.reader.node(entry.id) : undefined
  const arrow = node?.kind === 'symlink' ? ` -> ${bytesToText(node.target)}` : ''
  return `${modeText(entry)} ${String(entry.size).padStart(12)} ${printable(shown + arrow)}`
}

/** As `ls -l` writes it. */
function modeText(entry: NodeEntry): string {
  const letters = [...'rwxrwxrwx'].map((letter, i) => (modeOf(entry) & (0o400 >> i) ? letter : '-')).join('')
  return { directory: 'd', file: '-', symlink: 'l' }[entry.kind] + letters
}
