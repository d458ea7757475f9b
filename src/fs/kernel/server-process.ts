import { type ChildProcess, spawn } from 'node:child_process'
import type { FromServer, FromSupervisor } from './ipc.ts'

/** What a supervisor hears of a server. */
export interface ServerEvents {
  message(server: ServerProcess, message: FromServer): void
  /** It has ended, or could not be started; once. */
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
    this.#child.on('error', () => {
      // Without a process there is no exit.
      if (this.pid === undefined) gone(this)
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
    return pid === undefined
      ? 'a server could not be started'
      : `server ${pid} ended (${signalCode ?? `status ${exitCode}`})`
  }
}
