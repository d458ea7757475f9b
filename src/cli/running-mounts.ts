import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { systemCode } from '../errors.ts'
import { askControl, type Verb } from '../fs/control.ts'
import type { MountStatus } from '../fs/status.ts'
import { runtimeFolder } from './runtime.ts'

/** What every running mount of this user says of itself, by mount point. Throws MountError where one does not answer. */
export async function mountStatuses(): Promise<MountStatus[]> {
  const mounts: MountStatus[] = []
  for (const socket of sockets()) {
    const answer = await askControl(socket, 'status')
    if (answer?.status !== undefined) mounts.push(answer.status)
  }
  return mounts.sort((a, b) => (a.mountpoint < b.mountpoint ? -1 : 1))
}

/** Asks every running mount of this user in turn. Throws MountError with what one has against it. */
export async function* askEach(verb: Exclude<Verb, 'status'>): AsyncGenerator<{ mountpoint: string }> {
  for (const socket of sockets()) {
    const mount = await askControl(socket, 'status')
    if (mount?.status === undefined) continue
    await askControl(socket, verb)
    yield { mountpoint: mount.status.mountpoint }
  }
}

/** Also of mounts that have ended in a crash, which nobody answers any more. */
function sockets(): string[] {
  const folder = runtimeFolder(process.env)
  if (folder === undefined) return []
  try {
    return readdirSync(folder)
      .filter(name => name.endsWith('.sock'))
      .map(name => join(folder, name))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
}
