import type { CommandModule } from 'yargs'
import { UnknownPathError } from '../../errors.ts'
import type { ControlReply } from '../../fs/control.ts'
import { configOf } from '../arguments.ts'
import type { GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'
import { askEach, refusals } from '../running-mounts.ts'

export const upgradeCommand: CommandModule<GlobalArguments, GlobalArguments> = {
  command: 'upgrade',
  describe: 'Let a new server, of the version that is installed now, take over each of your mounts',
  builder: yargs => yargs.example('$0 upgrade', 'who reads from a mount meanwhile waits for a moment'),
  handler: async argv => {
    const config = configOf(argv)
    const replies: ControlReply[] = []
    for await (const reply of askEach('upgrade')) {
      replies.push(reply)
      if (!reply.ok) continue
      if (config.json) await printJson({ mountpoint: reply.mountpoint })
      else await printLine(`upgraded ${reply.mountpoint}`)
    }
    if (replies.length === 0) throw new UnknownPathError('no mount of yours is running')
    const refusal = refusals(replies)
    if (refusal !== undefined) throw refusal
  },
}
