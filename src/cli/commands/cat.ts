import type { CommandModule } from 'yargs'
import { bytesToText } from '../../bytes.ts'
import { RefusedError, UnknownPathError } from '../../errors.ts'
import { fullPath } from '../../nix/store-path.ts'
import { configOf, parsePathArgument } from '../arguments.ts'
import { openStore } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { writeBytes } from '../output.ts'
import { becomeStateUser } from '../state-user.ts'

interface CatArguments extends GlobalArguments {
  path: string
}

export const catCommand: CommandModule<GlobalArguments, CatArguments> = {
  command: 'cat <path>',
  describe: 'Print a file in a store path, without a mount',
  builder: yargs =>
    yargs
      .positional('path', { type: 'string', demandOption: true, describe: 'Store path and the file below it' })
      .example('$0 cat /nix/store/...-hello-2.12/share/info/hello.info', 'the bytes of a file'),
  handler: async argv => {
    const config = configOf(argv)
    const { path, names } = parsePathArgument(argv.path)
    becomeStateUser(config)
    const store = openStore(config, { readOnly: true })
    try {
      const record = store.reader.path(path)
      const shown = [fullPath(record.baseName), ...names.map(bytesToText)].join('/')
      const entry = store.reader.descend(record, names)
      if (entry === undefined) throw new UnknownPathError(`${shown}: does not exist`)
      const node = store.reader.node(entry.id)
      if (node.kind !== 'file') throw new RefusedError(`${shown}: is a ${node.kind}, not a regular file`)
      for await (const bytes of store.reader.contents(node)) await writeBytes(bytes)
    } finally {
      await store.close()
    }
  },
}
