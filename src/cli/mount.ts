import { MountError } from '../errors.ts'
import { type ControlHandlers, listenControl } from '../fs/control.ts'
import type { MountStatus } from '../fs/status.ts'
import type { Ending } from '../fs/types.ts'
import { type Logger, stderrLogger } from '../log.ts'
import type { Config } from './config.ts'
import { checkUpgradable, mountKernel } from './mount-kernel.ts'
import { runtimeFolder } from './runtime.ts'

export interface MountRequest {
  config: Config
  /** As `prepareMountpoint` gives it. */
  mountpoint: string
  driver: string
  xattr: boolean
  standby: boolean
  noResend: boolean
  stop: StopRequest
}

/** How the end of a mount is asked for. */
export interface StopRequest {
  readonly asked: Promise<void>
  now(): void
  /** What SIGHUP does. */
  onHangup(): void
}

/** A mount that answers, with its control socket. */
export interface RunningMount {
  ended: Promise<Ending | undefined>
  log: Logger
  unmount(): Promise<void>
  /** SIGHUP: another server takes over, or the mount ends where nobody can. */
  hangup(): void
  /** After it has ended. */
  close(): Promise<void>
}

/** What the drivers have in common. */
type Driven = Pick<RunningMount, 'ended' | 'unmount' | 'close'> & {
  status(): Promise<MountStatus>
  upgrade: (() => Promise<void>) | undefined
}

/**
 * Mounts by the driver that is asked for; `auto` is kernel as root, and libfuse otherwise. Undefined where the end was
 * asked for before it answered. Throws MountError.
 */
export async function mountByDriver(request: MountRequest): Promise<RunningMount | undefined> {
  const { config, mountpoint, driver } = request
  const log = stderrLogger(config.verbose)
  const kernel = driver === 'kernel' || (driver === 'auto' && process.getuid?.() === 0)
  if (request.xattr && !kernel)
    throw new MountError(
      `${mountpoint}: the libfuse driver shows no extended attributes; leave out --xattr, or mount as root by --driver kernel`,
    )
  const mount = kernel ? await byKernel(request) : await byLibfuse(request)
  if (mount === undefined) return undefined
  const upgrade = async () => {
    if (mount.upgrade === undefined) throw new MountError('the libfuse driver cannot hand over')
    await mount.upgrade()
  }
  const closeControl = await openControl(request, { status: mount.status, upgrade, stop: request.stop.now }, log)
  return {
    ended: mount.ended,
    log,
    unmount: mount.unmount,
    hangup: () => {
      if (mount.upgrade === undefined) return request.stop.now()
      upgrade().catch((error: Error) => log.warn(`${mountpoint}: ${error.message}`))
    },
    close: async () => {
      closeControl()
      await mount.close()
    },
  }
}

async function byKernel(request: MountRequest): Promise<Driven | undefined> {
  const { config, mountpoint } = request
  const supervisor = await mountKernel(request, request.stop.asked)
  if (supervisor === undefined) return undefined
  return {
    ended: supervisor.ended,
    unmount: () => supervisor.unmount(),
    upgrade: async () => {
      checkUpgradable()
      await supervisor.upgrade()
    },
    status: async () => {
      const server = await supervisor.status()
      if (server === undefined) throw new MountError('no server answers just now; try again')
      return {
        ...server,
        mountpoint,
        state: config.state,
        driver: 'kernel',
        supervisor: process.pid,
        mounted: supervisor.mounted.toISOString(),
        restarts: supervisor.restarts,
        upgrades: supervisor.upgrades,
        standby: supervisor.hasStandby,
      }
    },
    close: async () => {},
  }
}

async function byLibfuse({ config, mountpoint }: MountRequest): Promise<Driven> {
  // Brings all of the store with it, which a supervisor does not need.
  const { mountByLibfuse } = await import('./mount-libfuse.ts')
  const mount = await mountByLibfuse(config, mountpoint)
  return { ...mount, upgrade: undefined }
}

/** The socket, where there is a place for one: without it the mount can still be used, and ended by a signal. */
async function openControl(
  { config, mountpoint }: MountRequest,
  handlers: ControlHandlers,
  log: Logger,
): Promise<() => void> {
  const folder = runtimeFolder(process.env)
  try {
    if (folder !== undefined) return await listenControl(folder, { mountpoint, state: config.state }, handlers)
    log.debug('XDG_RUNTIME_DIR is not set, so status does not find this mount')
  } catch (error) {
    log.warn((error as Error).message)
  }
  return () => {}
}
