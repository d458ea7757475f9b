import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { onCleanup, type TestScope } from './cleanup.ts'
import { output } from './run.ts'
import { tempFolder, unmountLazily } from './temp.ts'

/** A small filesystem in memory, for full disks; unmounted after the test. Needs root. */
export async function smallDisk(t: TestScope, size: string): Promise<string> {
  const folder = join(tempFolder(t, 'disk'), 'disk')
  mkdirSync(folder)
  await output('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder])
  onCleanup(t, () => unmountLazily(folder))
  return folder
}

/** A filesystem that refuses to go past the kernel's cache; unmounted after the test. Needs root. */
export async function cachedDisk(t: TestScope): Promise<string> {
  const folder = join(tempFolder(t, 'disk'), 'disk')
  mkdirSync(folder)
  await output('mount', ['-t', 'ramfs', 'ramfs', folder])
  onCleanup(t, () => unmountLazily(folder))
  return folder
}

/** The folder once more, read-only; unmounted after the test. Needs root. */
export async function readOnlyView(t: TestScope, folder: string): Promise<string> {
  const view = join(tempFolder(t, 'view'), 'view')
  mkdirSync(view)
  await output('mount', ['--bind', folder, view])
  onCleanup(t, () => unmountLazily(view))
  await output('mount', ['-o', 'remount,bind,ro', view])
  return view
}
