import { stat } from 'node:fs/promises'
import { MissingToolError } from '../errors.ts'
import type { MountStatus } from '../fs/status.ts'
import { StoreFs } from '../fs/store-fs.ts'
import type { MountedFs } from '../fs/types.ts'
import { Fetcher } from '../store/fetch.ts'
import { openStore, type Store } from './compose.ts'
import type { Config } from './config.ts'
import { withIdentity } from './identity.ts'
import { stateIdentity } from './state-user.ts'
import { readPackageVersion } from './version.ts'

/** How often the index is asked for other processes' commits. */
const POLL_INTERVAL_MS = 100

/** A mount whose server is this process. */
export interface LibfuseMount extends MountedFs {
  status(): Promise<MountStatus>
  /** After it has ended. */
  close(): Promise<void>
}

/** Mounts by the libfuse driver. Throws MountError, MissingToolError, StateError. */
export async function mountByLibfuse(config: Config, mountpoint: string): Promise<LibfuseMount> {
  const { mountLibfuse } = await loadLibfuse()
  const identity = stateIdentity(config)
  // Not this process's own rights: fuse-native mounts in it, and only root may unmount that.
  const store = withIdentity(identity, () => openStore(config, { readOnly: true }))
  const { reader, log } = store
  if (identity !== undefined && config.user !== undefined)
    log.warn(`--user ${config.user}: the state is theirs, but the libfuse driver serves it with root's rights`)
  // Listings need the index only, so a block store that is away keeps nobody from mounting.
  await store.checkBlocks().catch((error: Error) => log.warn(error.message))
  const fs = new StoreFs(reader, store.state.folder)
  const fetcher = new Fetcher(reader)
  const mounted = await mountLibfuse({ fs, mountpoint, log, fetch: miss => fetcher.fetch(miss) })
  unmountOnCrash(mounted, store)
  // From a thread of the pool: this one must answer meanwhile.
  await stat(mountpoint)
  const poll = followCommits(store, mounted)
  const since = new Date().toISOString()
  return {
    ended: mounted.ended,
    pathsChanged: () => mounted.pathsChanged(),
    unmount: () => mounted.unmount(),
    status: async () => ({
      mountpoint,
      state: config.state,
      driver: 'libfuse',
      pid: process.pid,
      supervisor: process.pid,
      version: readPackageVersion(),
      since,
      mounted: since,
      restarts: 0,
      upgrades: 0,
      standby: false,
      ...mounted.counts(),
      fetched: store.fetched(),
      malformed: 0,
      paths: store.index.pathCount(),
    }),
    close: async () => {
      clearInterval(poll)
      await store.close()
    },
  }
}

async function loadLibfuse(): Promise<typeof import('../fs/libfuse/driver.ts')> {
  try {
    return await import('../fs/libfuse/driver.ts')
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
