import { existsSync, rmdirSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Socket } from 'node:net'
import { resolve } from 'node:path'
import type { CommandModule } from 'yargs'
import { MissingToolError, UsageError } from '../../errors.ts'
import { mountAt } from '../../fs/mountinfo.ts'
import { prepareMountpoint } from '../../fs/mountpoint.ts'
import { StoreFs } from '../../fs/store-fs.ts'
import type { MountedFs } from '../../fs/types.ts'
import { configOf } from '../arguments.ts'
import { openStore, type Store } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { startMountServer } from '../mount-server.ts'
import { announce, printLine } from '../output.ts'

interface MountArguments extends GlobalArguments {
  mountpoint: string
  driver: string
  background: boolean
  lifeline: number | undefined
}

/** How often the index is asked for other processes' commits. */
const POLL_INTERVAL_MS = 100

const STOP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

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
      .option('driver', { choices: ['auto', 'libfuse'], default: 'auto', describe: 'How FUSE is spoken' })
      .option('background', {
        type: 'boolean',
        default: false,
        describe: 'Return when it answers; its messages go to mount.log in the state folder',
      })
      .option('lifeline', {
        type: 'number',
        hidden: true,
        describe: 'Descriptor of a pipe; the mount ends when it closes',
      })
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
      await printLine((await startMountServer(config, words, { bound: false })).line)
      return
    }
    const { mountLibfuse } = await loadLibfuse()
    const mountpoint = await prepareMountpoint(resolve(argv.mountpoint))
    const store = openStore(config, { readOnly: true })
    const stop = stopSignal(argv.lifeline)
    // Listings need the index only, so a block store that is away keeps nobody from mounting.
    await store.checkBlocks().catch((error: Error) => store.log.warn(error.message))
    const { reader, log } = store
    const fs = new StoreFs(reader, store.state.folder)
    const mounted = await mountLibfuse({ fs, mountpoint, log, fetch: cid => reader.fetch(cid) })
    unmountOnCrash(mounted, store)
    // From a thread of the pool: this one must answer meanwhile.
    await stat(mountpoint)
    announce(`mounted ${mountpoint}`)
    const poll = followCommits(store, mounted)
    // Where unmounting fails the end of this process is what ends the mount, and nobody is left hanging.
    const failed = (error: Error) => {
      store.log.warn(error.message)
      process.exitCode = 1
    }
    const reason = await Promise.race([stop.then(() => mounted.unmount()).catch(failed), mounted.ended])
    if (reason !== undefined) store.log.info(`${mountpoint}: ${reason}`)
    clearInterval(poll)
    await store.close()
    // Made for this mount alone, by a process that may be gone.
    if (argv.lifeline !== undefined && mountAt(mountpoint) === undefined && existsSync(mountpoint))
      rmdirSync(mountpoint)
    // libfuse's threads would keep the process until the last user of a busy mount is gone.
    process.exit()
  },
}

async function loadLibfuse(): Promise<typeof import('../../fs/libfuse/driver.ts')> {
  try {
    return await import('../../fs/libfuse/driver.ts')
  } catch (cause) {
    const message = (cause as Error).message
    if (message.includes('libfuse.so.2'))
      throw new MissingToolError('libfuse.so.2 is missing; install the package libfuse2', { cause })
    throw new MissingToolError(
      `the libfuse driver cannot be loaded (${message.split('\n')[0]}); run npm ci on linux-x64`,
      { cause },
    )
  }
}

/** Resolves when the mount shall end: at a signal, or when whoever holds the other end of the lifeline is gone. */
function stopSignal(lifeline: number | undefined): Promise<void> {
  return new Promise(resolve => {
    for (const signal of STOP_SIGNALS) process.on(signal, () => resolve())
    if (lifeline !== undefined)
      new Socket({ fd: lifeline })
        .on('close', () => resolve())
        .on('error', () => resolve())
        .resume()
  })
}

/** A mount whose server is gone hangs everybody who touches it, so whatever happens it goes first. */
function unmountOnCrash(mounted: MountedFs, store: Store): void {
  const crash = (error: unknown) => {
    store.log.warn(`unexpected: ${error instanceof Error ? error.stack : error}`)
    mounted.unmount().finally(() => process.exit(1))
  }
  process.on('uncaughtException', crash)
  process.on('unhandledRejection', crash)
}

/** Tells the mount when another process has added or removed paths. */
function followCommits({ index }: Store, mounted: MountedFs): NodeJS.Timeout {
  let seen = index.generation()
  return setInterval(() => {
    index.refresh()
    const now = index.generation()
    if (now === seen) return
    seen = now
    mounted.pathsChanged()
  }, POLL_INTERVAL_MS)
}
