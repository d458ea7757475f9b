import type { CommandModule } from 'yargs'
import { UnknownPathError } from '../../errors.ts'
import { configOf } from '../arguments.ts'
import type { GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'
import { askEach } from '../running-mounts.ts'

export const upgradeCommand: CommandModule<GlobalArguments, GlobalArguments> = {
  command: 'upgrade',
  describe: 'Let a new server, of the version that is installed now, take over each of your mounts',
  builder: yargs => yargs.example('$0 upgrade', 'who reads from a mount meanwhile waits for a moment'),
  handler: async argv => {
    const config = configOf(argv)
    const mountpoints: string[] = []
    for await (const { mountpoint } of askEach('upgrade')) {
      mountpoints.push(mountpoint)
      if (config.json) await printJson({ mountpoint })
      else await printLine(`upgraded ${mountpoint}`)
    }
    if (mountpoints.length === 0) throw new UnknownPathError('no mount of yours is running')
  },
}
