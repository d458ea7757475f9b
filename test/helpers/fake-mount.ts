import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import type { Config } from '../../src/cli/config.ts'
import type { FromServer, FromSupervisor } from '../../src/fs/kernel/ipc.ts'
import { onCleanup, type TestScope } from './cleanup.ts'
import { checkReply, decodeReply, type Reply } from './kernel-replies.ts'
import { cleanSettings, cliProgram } from './run.ts'
import { uniqueOf } from './synthetic-kernel.ts'
import { until } from './until.ts'

export interface FakeMountOptions {
  /** The program fake-device.c. */
  device: string
  config: Config
  xattr?: boolean
  noResend?: boolean
}

/**
 * A server process of the kernel driver, as its supervisor starts it, on a device that is us: this is the kernel and
 * the supervisor.
 */
export class FakeMount {
  /** All that the server has said to its supervisor. */
  readonly said: FromServer[] = []
  /** Messages to the kernel that answer nothing. */
  readonly notifications: Buffer[] = []
  /** What the server has printed. */
  log = ''
  readonly ended: Promise<void>
  readonly #child: ChildProcess
  readonly #waiting = new Map<bigint, (reply: Reply) => void>()
  #read = Buffer.alloc(0)

  constructor(t: TestScope, { device, config, xattr = false, noResend = false }: FakeMountOptions) {
    const server = JSON.stringify({ config, xattr, noResend })
    this.#child = spawn(device, [process.execPath, cliProgram, 'fuse-server', server], {
      stdio: ['pipe', 'pipe', 'pipe', 'ignore', 'ipc'],
      env: { ...process.env, ...cleanSettings() },
    })
    this.#child.on('message', (message: FromServer) => this.said.push(message))
    this.#child.stdout!.on('data', (chunk: Buffer) => this.#take(chunk))
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.log += chunk
    })
    this.#input.on('error', () => {})
    this.ended = new Promise(resolve => this.#child.once('exit', () => resolve()))
    // At the end of its input the device ends the server, and then itself.
    onCleanup(t, () => {
      this.#input.end()
      return this.ended
    })
  }

  get #input(): Writable {
    return this.#child.stdin!
  }

  #take(chunk: Buffer): void {
    this.#read = Buffer.concat([this.#read, chunk])
    while (this.#read.length >= 4 && this.#read.length >= 4 + this.#read.readUInt32LE(0)) {
      const end = 4 + this.#read.readUInt32LE(0)
      this.#hear(this.#read.subarray(4, end))
      this.#read = this.#read.subarray(end)
    }
  }

  #hear(message: Buffer): void {
    const unique = message.readBigUInt64LE(8)
    if (unique === 0n) {
      this.notifications.push(message)
      return
    }
    const reply = decodeReply(message)
    const waits = this.#waiting.get(unique)
    assert.ok(waits !== undefined, `nobody waits for a reply to ${unique}`)
    this.#waiting.delete(unique)
    waits(reply)
  }

  /** Puts bytes where the server reads its next request. */
  write(request: Buffer): void {
    const length = Buffer.alloc(4)
    length.writeUInt32LE(request.length)
    this.#input.write(Buffer.concat([length, request]))
  }

  /** The answer to a request; it is one that the kernel takes, and the only one. */
  async ask(request: Buffer): Promise<Reply> {
    const reply = await this.answer(request)
    checkReply(request, reply)
    return reply
  }

  /** As {@link ask}, for a request that may be malformed beyond that. */
  answer(request: Buffer): Promise<Reply> {
    const answered = new Promise<Reply>(resolve => this.#waiting.set(uniqueOf(request), resolve))
    this.write(request)
    return answered
  }

  send(message: FromSupervisor): void {
    this.#child.send(message)
  }

  /** The next that the server says of this type. */
  async hears<T extends FromServer['type']>(type: T): Promise<FromServer & { type: T }> {
    const found = await until(`the server says ${type}`, () => this.said.find(message => message.type === type))
    this.said.splice(this.said.indexOf(found), 1)
    return found as FromServer & { type: T }
  }

  /** Ends what the server hears its supervisor by. */
  disconnect(): void {
    this.#child.disconnect()
  }
}
