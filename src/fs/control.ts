import { createHash } from 'node:crypto'
import { mkdirSync, unlinkSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { MountError, systemCode } from '../errors.ts'
import type { MountStatus } from './status.ts'

/**
 * The control socket of a mount: JSON lines of at most 64 KiB, `{"verb": "status"}` answered by
 * `{"mountpoint": "...", "state": "...", "ok": true, "status": ...}`, or with `"ok": false, "error": "..."`. One for
 * each mount, in a folder of its own, for its owner alone.
 */

const MAX_LINE_BYTES = 64 * 1024
/** How long a whole line may take to come, and an answer. Milliseconds. */
const LINE_MS = 5000
const ANSWER_MS = 60_000

export const verbs = ['status', 'upgrade', 'stop'] as const
export type Verb = (typeof verbs)[number]

/** Which mount it is. */
export interface MountName {
  mountpoint: string
  /** State folder. */
  state: string
}

export interface ControlHandlers {
  status(): Promise<MountStatus>
  /** Resolves when another server has taken over. Throws MountError. */
  upgrade(): Promise<void>
  /** Asks the mount to end. */
  stop(): void
}

type Answer = { ok: true; status?: MountStatus } | { ok: false; error: string }

/** What a mount answers; one that cannot do what it was asked says which one it is, too. */
export type ControlReply = MountName & Answer

/** Path of something that belongs to the mount at this path, in the folder of running mounts. */
export function runtimePath(folder: string, mountpoint: string, ending: 'sock' | 'json'): string {
  return join(folder, `${createHash('sha256').update(mountpoint).digest('hex').slice(0, 16)}.${ending}`)
}

/**
 * Listens until closed. A socket that a crash left behind is replaced. Throws MountError.
 * @param lineMs milliseconds that a line may take to come
 */
export async function listenControl(
  folder: string,
  name: MountName,
  handlers: ControlHandlers,
  { lineMs = LINE_MS } = {},
): Promise<() => void> {
  const path = runtimePath(folder, name.mountpoint, 'sock')
  const server = createServer(socket => converse(socket, name, handlers, lineMs))
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    removeIfThere(path)
    await new Promise<void>((resolve, reject) => {
      // Not once: later it is a connection that could not be taken, which must not end the mount.
      server.on('error', reject)
      // bind(2) happens in listen: the socket is never open to others, not even for a moment.
      const before = process.umask(0o177)
      server.listen(path, resolve)
      process.umask(before)
    })
  } catch (cause) {
    throw new MountError(`${path}: the control socket cannot be made (${systemCode(cause) ?? cause})`, { cause })
  }
  return () => {
    server.close()
    removeIfThere(path)
  }
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}

function converse(socket: Socket, { mountpoint, state }: MountName, handlers: ControlHandlers, lineMs: number): void {
  const line: Buffer[] = []
  let bytes = 0
  socket.setTimeout(ANSWER_MS, () => socket.destroy())
  // Who asked may be gone.
  socket.on('error', () => socket.destroy())
  const late = setTimeout(() => socket.destroy(), lineMs)
  socket.on('close', () => clearTimeout(late))
  socket.on('data', (chunk: Buffer) => {
    const end = chunk.indexOf('\n')
    line.push(end < 0 ? chunk : chunk.subarray(0, end))
    bytes += line.at(-1)!.length
    if (end < 0 && bytes <= MAX_LINE_BYTES) return
    clearTimeout(late)
    socket.removeAllListeners('data')
    const text = bytes > MAX_LINE_BYTES ? undefined : Buffer.concat(line).toString()
    answer(text, handlers).then(reply =>
      socket.end(`${JSON.stringify({ mountpoint, state, ...reply })}
`),
    )
  })
}

async function answer(line: string | undefined, handlers: ControlHandlers): Promise<Answer> {
  const verb = line === undefined ? undefined : verbOf(line)
  try {
    switch (verb) {
      case 'status':
        return { ok: true, status: await handlers.status() }
      case 'upgrade':
        await handlers.upgrade()
        return { ok: true }
      case 'stop':
        handlers.stop()
        return { ok: true }
      case undefined:
        return { ok: false, error: `a line of JSON with one of the verbs ${verbs.join(', ')} is expected` }
    }
  } catch (error) {
    return { ok: false, error: (error as Error).message }
  }
}

function verbOf(line: string): Verb | undefined {
  try {
    const { verb } = JSON.parse(line) as { verb?: unknown }
    return verbs.find(known => known === verb)
  } catch {
    return undefined
  }
}

/**
 * Asks the mount whose socket this is; undefined where no mount listens there any more. Throws MountError where it does
 * not answer.
 */
export function askControl(path: string, verb: Verb): Promise<ControlReply | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path)
    let text = ''
    socket.setEncoding('utf8')
    socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error('no answer')))
    socket.on('error', error => {
      if (['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(systemCode(error) ?? '')) return resolve(undefined)
      reject(new MountError(`${path}: the mount does not answer (${systemCode(error) ?? error.message})`))
    })
    socket.on('data', (chunk: string) => {
      text += chunk
    })
    socket.on('end', () => resolve(parseReply(text)))
    socket.write(`${JSON.stringify({ verb })}\n`)
  })
}

/** Undefined for what is none, as of one who has ended meanwhile, or of another version. */
function parseReply(text: string): ControlReply | undefined {
  try {
    const reply = JSON.parse(text) as Partial<ControlReply>
    const isNamed = typeof reply.mountpoint === 'string' && typeof reply.state === 'string'
    return isNamed ? (reply as ControlReply) : undefined
  } catch {
    return undefined
  }
}
