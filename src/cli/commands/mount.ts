import { existsSync, rmdirSync } from 'node:fs'
import { Socket } from 'node:net'
import { resolve } from 'node:path'
import type { CommandModule } from 'yargs'
import { UsageError } from '../../errors.ts'
import { mountAt } from '../../fs/mountinfo.ts'
import { prepareMountpoint } from '../../fs/mountpoint.ts'
import type { Ending } from '../../fs/types.ts'
import { configOf } from '../arguments.ts'
import type { GlobalArguments } from '../config.ts'
import { mountByDriver, type RunningMount, type StopRequest } from '../mount.ts'
import { startMountServer } from '../mount-server.ts'
import { printLine } from '../output.ts'

interface MountArguments extends GlobalArguments {
  mountpoint: string
  driver: string
  background: boolean
  xattr: boolean
  lifeline: number | undefined
  standby: boolean
  resend: boolean
}

export const mountCommand: CommandModule<GlobalArguments, MountArguments> = {
  command: '$0 <mountpoint>',
  describe: 'Mount the store, in the foreground until a signal',
  builder: yargs =>
    yargs
      .positional('mountpoint', {
        type: 'string',
        demandOption: true,
        describe: 'Folder with a slash in it; made where it is missing',
      })
      .option('driver', {
        choices: ['auto', 'kernel', 'libfuse'],
        default: 'auto',
        describe: 'How FUSE is spoken: by our own code, as root, or through libfuse; auto is the best that is possible',
      })
      .option('background', {
        type: 'boolean',
        default: false,
        describe: 'Return when it answers; its messages go to mount.log in the state folder',
      })
      .option('xattr', {
        type: 'boolean',
        default: false,
        describe: 'Show the CID of each file and folder as extended attribute ipfs.cid (kernel driver)',
      })
      .option('lifeline', {
        type: 'number',
        hidden: true,
        describe: 'Descriptor of a pipe; the mount ends when it closes',
      })
      .option('standby', { type: 'boolean', default: true, hidden: true, describe: 'A second server is kept ready' })
      .option('resend', { type: 'boolean', default: true, hidden: true, describe: 'As Linux 6.9 and newer can' })
      .example('$0 /nix/store-ipfs', 'mount there, until Ctrl-C')
      .example('$0 ./store --state ./state --background', 'without root: any folder of yours'),
  handler: async argv => {
    if (!argv.mountpoint.includes('/')) {
      throw new UsageError(
        `unknown command ${JSON.stringify(argv.mountpoint)}; a mount point must contain a slash; see nix-ipfs-mount --help`,
      )
    }
    const config = configOf(argv)
    if (argv.background) {
      const words = process.argv.slice(2).filter(word => !/^--background(=|$)/.test(word))
      printLine((await startMountServer(config, words, { bound: false })).line)
      return
    }
    const mountpoint = await prepareMountpoint(resolve(argv.mountpoint))
    const { driver, xattr, standby, resend } = argv
    const stop = stopRequest(argv.lifeline)
    const mount = await mountByDriver({ config, mountpoint, driver, xattr, standby, noResend: !resend, stop })
    if (mount !== undefined) {
      printLine(`mounted ${mountpoint}`)
      stop.onHangup = () => mount.hangup()
      process.exitCode = await untilEnded(mount, stop.asked, mountpoint)
    }
    // Made for this mount alone, by a process that may be gone.
    if (argv.lifeline !== undefined && mountAt(mountpoint) === undefined && existsSync(mountpoint))
      rmdirSync(mountpoint)
    // libfuse's threads would keep the process until the last user of a busy mount is gone.
    process.exit()
  },
}

/** The exit status. Where unmounting fails the end of this process ends the mount, and nobody is left hanging. */
async function untilEnded(mount: RunningMount, stop: Promise<void>, mountpoint: string): Promise<number> {
  const failed = (error: Error): Ending => ({ why: error.message, failed: true })
  const ending = await Promise.race([stop.then(() => mount.unmount()).then(() => undefined, failed), mount.ended])
  if (ending !== undefined) mount.log.warn(`${mountpoint}: ${ending.why}`)
  await mount.close()
  return ending?.failed ? 1 : 0
}

/** Asked for by a signal, by {@link StopRequest.now}, or when the other end of the lifeline is gone. */
function stopRequest(lifeline: number | undefined): StopRequest {
  let now!: () => void
  const asked = new Promise<void>(resolve => {
    now = resolve
  })
  const request = { asked, now, onHangup: now }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, now)
  process.on('SIGHUP', () => request.onHangup())
  // It ends a mount, and keeps no process that has none.
  if (lifeline !== undefined) new Socket({ fd: lifeline }).on('close', now).on('error', now).resume().unref()
  return request
}
