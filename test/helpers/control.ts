import { createHash } from 'node:crypto'
import { createConnection } from 'node:net'
import type { MountStatus } from '../../src/fs/status.ts'

const PATIENCE_MS = 30_000

/** What a mount answers. */
export interface ControlAnswer {
  ok: boolean
  error?: string
  status?: MountStatus
}

/** What a mount with a supervisor says of itself. Throws an Error where nobody answers. */
export async function mountStatus(mountpoint: string): Promise<MountStatus> {
  const { status } = await succeed(mountpoint, 'status')
  if (status === undefined) throw new Error(`${mountpoint}: the answer to status has none`)
  return status
}

/** Hands the mount over to a new server; resolves when that one serves. */
export async function upgradeMount(mountpoint: string): Promise<void> {
  await succeed(mountpoint, 'upgrade')
}

async function succeed(mountpoint: string, verb: string): Promise<ControlAnswer> {
  const answer = await ask(mountpoint, verb)
  if (answer.ok !== true) throw new Error(`${mountpoint}: ${verb}: ${answer.error}`)
  return answer
}

/** What this mount, and no other, answers. */
export async function ask(mountpoint: string, verb: string): Promise<ControlAnswer> {
  return JSON.parse(await exchange(mountpoint, `{"verb":"${verb}"}\n`))
}

/** A line there and a line back, on the control socket that root's mounts have. */
function exchange(mountpoint: string, line: string): Promise<string> {
  const name = createHash('sha256').update(mountpoint).digest('hex').slice(0, 16)
  const socket = createConnection(`/run/nix-ipfs-mount/${name}.sock`)
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      reject(new Error(`${mountpoint}: its control socket: ${why}`))
      socket.destroy()
    }
    let text = ''
    socket.setTimeout(PATIENCE_MS, () => fail(`no answer after ${PATIENCE_MS} ms`))
    socket.setEncoding('utf8')
    socket.on('error', error => fail(error.message))
    socket.on('close', () => fail('closed without an answer'))
    socket.on('data', chunk => {
      text += chunk
      if (!text.includes('\n')) return
      resolve(text.trimEnd())
      socket.destroy()
    })
    socket.write(line)
  })
}
