import { setTimeout as sleep } from 'node:timers/promises'
import type { CommandModule } from 'yargs'
import type { MountStatus } from '../../fs/status.ts'
import { stderrLogger } from '../../log.ts'
import { configOf } from '../arguments.ts'
import type { GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'
import { askAll, refusals } from '../running-mounts.ts'

interface StatusArguments extends GlobalArguments {
  watch: boolean
}

const WATCH_INTERVAL_MS = 1000

export const statusCommand: CommandModule<GlobalArguments, StatusArguments> = {
  command: 'status',
  describe: 'What each of your mounts is doing',
  builder: yargs =>
    yargs
      .option('watch', { type: 'boolean', default: false, describe: 'Again every second, until Ctrl-C' })
      .example('$0 status', 'mount point, server, requests, failures')
      .example('$0 status --json | jq ".[].requests"', 'requests of the kernel by kind')
      .epilogue(
        [
          '--json: an array (with --watch one a line) of {mountpoint, state, driver, supervisor, pid, version, mounted,',
          'since, restarts, upgrades, standby, requests, messages, misses, inFlight, bytesRead, fetched, failures,',
          'malformed, lastErrors, paths}. requests: FUSE requests by kind, since the server in process pid began (since);',
          'messages: their sum. misses: reads that had to wait for a block; inFlight: how many wait now. fetched: blocks',
          'and bytes by source. restarts: times that another server took over, upgrades of which were asked for;',
          'standby: one is ready to. paths: store paths that the index knows.',
        ].join(' '),
      ),
  handler: async argv => {
    const config = configOf(argv)
    const log = stderrLogger(config.verbose)
    for (;;) {
      const replies = await askAll('status')
      const mounts = replies.flatMap(reply => (reply.ok && reply.status !== undefined ? [reply.status] : []))
      if (config.json) await printJson(mounts)
      else for (const mount of mounts) await printLine(describe(mount))
      const refusal = refusals(replies)
      if (!argv.watch && refusal !== undefined) throw refusal
      if (!argv.watch) return
      if (refusal !== undefined) log.warn(refusal.message)
      await sleep(WATCH_INTERVAL_MS)
    }
  },
}

function describe(mount: MountStatus): string {
  const { requests, fetched, lastErrors, standby, restarts, upgrades } = mount
  const counts = (values: [string, string | number][]) => values.map(([name, value]) => `${name} ${value}`).join(', ')
  const byKind = Object.entries(requests).sort(([, a], [, b]) => b - a)
  const bySource = Object.entries(fetched).map(([source, { blocks, bytes }]): [string, string] => [
    source,
    `${blocks} blocks, ${bytes} bytes`,
  ])
  const rows: [string, string][] = [
    ['state', mount.state],
    ['driver', mount.driver],
    ['server', `process ${mount.pid}, version ${mount.version}, since ${mount.since}`],
    ['mounted', `${mount.mounted}, by process ${mount.supervisor}`],
    ['takeovers', `${restarts}, upgrades ${upgrades}, standby ${standby ? 'ready' : 'none'}`],
    ['paths', `${mount.paths}`],
    ['messages', `${mount.messages}${byKind.length > 0 ? `: ${counts(byKind)}` : ''}`],
    ['read', `${mount.bytesRead} bytes`],
    ['misses', `${mount.misses}, waiting ${mount.inFlight}`],
    ['fetched', bySource.length > 0 ? counts(bySource) : '-'],
    ['failures', `${mount.failures}, malformed ${mount.malformed}`],
    ...lastErrors.map(({ time, message }): [string, string] => ['error', `${time} ${message}`]),
  ]
  return [mount.mountpoint, ...rows.map(([name, value]) => `  ${`${name}:`.padEnd(11)}${value}`)].join('\n')
}
