import type { CommandModule } from 'yargs'
import type { PathRecord } from '../../index/types.ts'
import { fullPath } from '../../nix/store-path.ts'
import { bytesHere } from '../../store/usage.ts'
import { checkPathArguments, configOf, storePaths } from '../arguments.ts'
import { openStore, type Store } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { pathFields, printJson, printLine } from '../output.ts'
import { becomeStateUser } from '../state-user.ts'

interface InfoArguments extends GlobalArguments {
  path: string[]
}

export const infoCommand: CommandModule<GlobalArguments, InfoArguments> = {
  command: 'info <path..>',
  describe: 'Show what is known of store paths',
  builder: yargs =>
    storePaths(yargs).example('$0 info 8zfmblkr1n6h0p8qs5x1m3gqn4sv3f2a --json', 'by hash part, as JSON'),
  handler: async argv => {
    const config = configOf(argv)
    checkPathArguments(argv.path)
    becomeStateUser(config)
    const store = openStore(config, { readOnly: true })
    try {
      const records = argv.path.map(path => store.reader.path(path))
      for (const record of records) {
        const info = await describe(store, record)
        if (config.json) await printJson(info)
        else for (const [name, value] of Object.entries(info)) await printLine(`${`${name}:`.padEnd(12)}${text(value)}`)
      }
    } finally {
      await store.close()
    }
  },
}

async function describe(store: Store, record: PathRecord) {
  return {
    ...pathFields(record),
    references: record.references.map(fullPath),
    deriver: record.deriver === undefined ? null : fullPath(record.deriver),
    ca: record.ca ?? null,
    signatures: record.signatures,
    trust: record.trust,
    pinned: [...store.index.pins(record.baseName)].length > 0,
    entries: record.entries,
    size: record.totalSize,
    local: await bytesHere(store.reader, record, store.hasBlock),
  }
}

function text(value: unknown): string {
  if (value === null) return '-'
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.join(' ')
  return String(value)
}
