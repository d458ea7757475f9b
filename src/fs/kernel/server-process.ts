import { type ChildProcess, spawn } from 'node:child_process'
import { systemCode } from '../../errors.ts'
import type { FromServer, FromSupervisor } from './ipc.ts'

/** What a supervisor hears of a server. */
export interface ServerEvents {
  message(server: ServerProcess, message: FromServer): void
  /** It has ended; once. */
  gone(server: ServerProcess): void
}

/** A server, as its supervisor sees it. */
export class ServerProcess {
  /** It waits for the word to start, or has got it. */
  ready = false
  /** When it began to answer (performance.now()); undefined before. */
  since: number | undefined
  /** It still served when the one that follows it was ready. */
  proven = false
  /** Questions in a row that it has not answered. */
  unanswered = 0
  readonly #child: ChildProcess

  /** Its descriptor 3 is the device, 4 the channel to us. */
  constructor([program, ...args]: readonly string[], fd: number, { message, gone }: ServerEvents) {
    this.#child = spawn(program!, args, { stdio: ['ignore', 'ignore', 'inherit', fd, 'ipc'], cwd: '/' })
    this.#child.on('message', (said: FromServer) => message(this, said))
    this.#child.once('exit', () => gone(this))
    this.#child.on('error', error => {
      // Without a process there is no exit, and the next attempt would end in the same way.
      if (this.pid === undefined) message(this, { type: 'failed', why: whyNotStarted(program!, error) })
    })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  send(message: FromSupervisor): void {
    // Of one that has just died we hear by its end.
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** For messages: who it was and how it ended. */
  describe(): string {
    const { pid, exitCode, signalCode } = this.#child
    return `server ${pid} ended (${signalCode ?? `status ${exitCode}`})`
  }
}

function whyNotStarted(program: string, error: Error): string {
  const code = systemCode(error)
  return code === 'ENOENT'
    ? `${program} is missing; install the package util-linux`
    : `a server cannot be started: ${program} (${code ?? error.message})`
}
