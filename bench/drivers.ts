import { type Mount, type MountOptions, mountStore } from '../test/helpers/mount.ts'
import type { Scope } from './scope.ts'

/** Every way to mount, by the name of its driver. */
export const DRIVERS = ['kernel', 'libfuse'] as const

export type DriverName = (typeof DRIVERS)[number]

/** The one that the goals are about: it has a supervisor, and counts its messages. */
export const KERNEL: DriverName = 'kernel'

/** Mounts a state with a driver, until the scope is closed. */
export function mountWith(scope: Scope, driver: DriverName, options: MountOptions): Promise<Mount> {
  return mountStore(scope, { ...options, args: ['--driver', driver, ...(options.args ?? [])] })
}
