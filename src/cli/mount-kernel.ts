import { closeSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { MountError } from '../errors.ts'
import { runtimePath } from '../fs/control.ts'
import { mountDevice, openDevice, setReadAhead } from '../fs/kernel/device.ts'
import { startReaper } from '../fs/kernel/reaper.ts'
import { Supervisor } from '../fs/kernel/supervisor.ts'
import { type Mount, mountAt, readMounts } from '../fs/mountinfo.ts'
import { lazyUnmount } from '../fs/mountpoint.ts'
import { stderrLogger } from '../log.ts'
import type { Config } from './config.ts'
import type { ServerConfig } from './fuse-thread.ts'
import { asIdentity } from './identity.ts'
import { runtimeFolder } from './runtime.ts'
import { SERVER_WORD } from './server-word.ts'
import { stateIdentity } from './state-user.ts'

/** V8 compiles what runs often: after this many bytes of bytecode, an eighth of what it takes by itself. */
const EARLY_COMPILER = '--interrupt-budget=16500'

export interface KernelMountOptions {
  config: Config
  mountpoint: string
  xattr: boolean
  /** Whether a second server waits, ready to take over. */
  standby: boolean
  /** Behave as on a kernel that cannot resend requests. */
  noResend: boolean
}

/**
 * Mounts by the kernel driver, and supervises its servers from this process. Undefined where the end was asked for
 * before a server answered. Throws MountError.
 */
export async function mountKernel(
  options: KernelMountOptions,
  stopAsked: Promise<void>,
): Promise<Supervisor | undefined> {
  const { config, mountpoint, xattr, standby, noResend } = options
  if (process.getuid?.() !== 0)
    throw new MountError(`${mountpoint}: the kernel driver mounts as root alone; use --driver libfuse`)
  const log = stderrLogger(config.verbose)
  const server: ServerConfig = { config, mountpoint, xattr, noResend }
  const identity = stateIdentity(config, log)
  const asServer = identity === undefined ? ['setpriv', '--pdeathsig', 'KILL', '--'] : asIdentity(identity)
  let dismissReaper = () => {}
  let ours: Mount | undefined
  const folder = runtimeFolder(process.env)
  const kept = folder && runtimePath(folder, mountpoint, 'json')
  const runtimeFiles = folder && kept ? [kept, runtimePath(folder, mountpoint, 'sock')] : []
  const isMounted = () => ours !== undefined && readMounts().some(mount => isSame(mount, ours!))
  const supervisor = new Supervisor({
    mountpoint,
    command: [
      ...asServer,
      ...[process.execPath, ...process.execArgv, EARLY_COMPILER, process.argv[1]!, SERVER_WORD, JSON.stringify(server)],
    ],
    openDevice,
    mount: async fd => {
      await mountDevice(fd, mountpoint)
      ours = mountAt(mountpoint)
      dismissReaper = startReaper(mountpoint, runtimeFiles)
    },
    unmount: async () => {
      const top = isMounted() ? mountAt(mountpoint) : undefined
      if (top !== undefined && !isSame(top, ours!)) {
        // Nor is it the reaper's to take.
        dismissReaper()
        throw new MountError(`cannot be unmounted: a ${top.type} filesystem was mounted above it; unmount both`)
      }
      if (top !== undefined) await lazyUnmount(mountpoint)
      dismissReaper()
      if (kept !== undefined) rmSync(kept, { force: true })
    },
    isMounted,
    closeDevice: closeSync,
    keep: state => keepState(kept, { mountpoint, state: config.state, supervisor: process.pid, ...state }),
    answers: () => setReadAhead(mountpoint, log),
    standby,
    log,
  })
  const stopped = stopAsked.then(() => supervisor.unmount()).then(() => undefined)
  return await Promise.race([supervisor.start().then(() => supervisor), stopped])
}

/** An id alone says little: the kernel gives those of mounts that are gone to the next ones. */
function isSame(one: Mount, other: Mount): boolean {
  return one.id === other.id && one.device === other.device && one.type === other.type
}

/** For who looks after a crash. That it cannot be written keeps nobody from mounting. */
function keepState(file: string | undefined, state: object): void {
  if (file === undefined) return
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o755 })
    writeFileSync(`${file}.new`, `${JSON.stringify(state)}\n`, { mode: 0o600 })
    renameSync(`${file}.new`, file)
  } catch {
    // The supervisor has it in memory.
  }
}

/** An upgrade starts what is installed now; as root, only what root alone can have put there. Throws MountError. */
export function checkUpgradable(): void {
  for (const file of [process.execPath, process.argv[1]!]) {
    const owner = statSync(file, { throwIfNoEntry: false })?.uid
    if (owner === undefined) throw new MountError(`${file}: is gone, so there is nothing to upgrade to`)
    if (process.getuid?.() === 0 && owner !== 0)
      throw new MountError(`${file}: is not root's, so it is not started as an upgrade`)
  }
}
