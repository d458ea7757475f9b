import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { MountError, systemCode } from '../errors.ts'
import { askControl, type ControlReply, type Verb } from '../fs/control.ts'
import { runtimeFolder } from './runtime.ts'

/** Asks all running mounts of this user at once; their answers by mount point. Throws MountError. */
export async function askAll(verb: Verb): Promise<ControlReply[]> {
  const replies = await Promise.all(sockets().map(socket => askControl(socket, verb)))
  return replies.filter(reply => reply !== undefined).sort((a, b) => (a.mountpoint < b.mountpoint ? -1 : 1))
}

/** Asks one after the other. Throws MountError. */
export async function* askEach(verb: Verb): AsyncGenerator<ControlReply> {
  for (const socket of sockets()) {
    const reply = await askControl(socket, verb)
    if (reply !== undefined) yield reply
  }
}

/** What the mounts that could not do what they were asked have said, as one error; undefined where all could. */
export function refusals(replies: readonly ControlReply[]): MountError | undefined {
  const lines = replies.flatMap(reply => (reply.ok ? [] : [`${reply.mountpoint}: ${reply.error}`]))
  return lines.length === 0 ? undefined : new MountError(lines.join('; '))
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
