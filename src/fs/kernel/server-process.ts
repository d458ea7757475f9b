import { type ChildProcess, spawn } from 'node:child_process'
import { systemCode } from '../../errors.ts'
import type { ServerStatus } from '../status.ts'
import type { FromServer, FromSupervisor } from './ipc.ts'

/** Questions in a row that a server may leave unanswered: one that is ready, and one that is starting. */
const MAX_UNANSWERED = 8
const MAX_UNANSWERED_STARTING = 60
/** One that has served for so long has not failed to start, whatever ends it. */
export const PROVEN_MS = 1000
/** How long a killed server may take to end. */
const UNKILLABLE_MS = 1000
/** Of the question whose answer nobody waits for. */
const NOBODYS = 0

/** What a server says, but for its answers to {@link ServerProcess.status}. */
export type ServerNews = Exclude<FromServer, { type: 'status' }>

/** What a supervisor hears of a server. */
export interface ServerEvents {
  message(server: ServerProcess, message: ServerNews): void
  /** It has ended, or could not be started; once. */
  gone(server: ServerProcess): void
}

/** A server, as its supervisor sees it. */
export class ServerProcess {
  /** When it began to answer (performance.now()); undefined before. */
  since: number | undefined
  /** It still served when the one that follows it was warm. */
  proven = false
  /** All of its threads are at their speed. */
  warm = false
  #ready = false
  #unanswered = 0
  readonly #questions = new Map<number, (status: ServerStatus | undefined) => void>()
  #lastQuestion = NOBODYS
  /** Undefined where it could not be started. */
  readonly #child: ChildProcess | undefined
  #why: string | undefined
  readonly #gone: () => void

  /** Its descriptor 3 is the device, 4 the channel to us. */
  constructor([program, ...args]: readonly string[], fd: number, events: ServerEvents) {
    let isGone = false
    const gone = () => {
      if (isGone) return
      isGone = true
      for (const id of this.#questions.keys()) this.#answer(id, undefined)
      events.gone(this)
    }
    this.#gone = gone
    const notStarted = (error: unknown) => {
      this.#why = whyNotStarted(program!, error)
      // The next attempt would end in the same way.
      if (systemCode(error) === 'ENOENT') events.message(this, { type: 'failed', why: this.#why })
      gone()
    }
    try {
      this.#child = spawn(program!, args, { stdio: ['ignore', 'ignore', 'inherit', fd, 'ipc'], cwd: '/' })
    } catch (error) {
      // As where there is no memory for it.
      setImmediate(notStarted, error)
      return
    }
    this.#child.on('message', (said: FromServer) => {
      if (said.type === 'status') return this.#answer(said.id, said.status)
      if (said.type === 'ready') this.#ready = true
      if (said.type === 'warm') this.warm = true
      this.#unanswered = 0
      events.message(this, said)
    })
    this.#child.once('exit', gone)
    this.#child.on('error', error => {
      // Without a process there is no exit.
      if (this.#child?.pid === undefined) notStarted(error)
    })
  }

  /** It waits for the word to start, or has got it. */
  get ready(): boolean {
    return this.#ready
  }

  send(message: FromSupervisor): void {
    // Of one that has just died we hear by its end.
    if (this.#child?.connected) this.#child.send(message, () => {})
  }

  /** What it says of itself; undefined where it ends, or does not answer within `patience` milliseconds. */
  status(patience: number): Promise<ServerStatus | undefined> {
    const id = ++this.#lastQuestion
    return new Promise(resolve => {
      this.#questions.set(id, resolve)
      setTimeout(() => this.#answer(id, undefined), patience)
      this.send({ type: 'status', id })
    })
  }

  #answer(id: number, status: ServerStatus | undefined): void {
    if (status !== undefined) this.#unanswered = 0
    this.#questions.get(id)?.(status)
    this.#questions.delete(id)
  }

  /** Asks whether it is there, as it is to be asked once a second; false where it has been silent for too long. */
  isThere(): boolean {
    if (this.#ready) this.send({ type: 'status', id: NOBODYS })
    return this.#unanswered++ < (this.#ready ? MAX_UNANSWERED : MAX_UNANSWERED_STARTING)
  }

  /** That it has ended does not mean that servers cannot serve. */
  isProven(): boolean {
    return this.proven || (this.since !== undefined && performance.now() - this.since > PROVEN_MS)
  }

  /**
   * `why`: for {@link describe}, where it is not as the system shows it. A thread that waits for a disk may keep the
   * process for as long as that takes, but nothing of it will ever run again: after a moment it counts as gone.
   */
  kill(why?: string): void {
    this.#why ??= why
    this.#child?.kill('SIGKILL')
    setTimeout(this.#gone, UNKILLABLE_MS).unref()
  }

  /** For messages: who it was and how it ended. */
  describe(): string {
    const { pid, exitCode, signalCode } = this.#child ?? {}
    if (this.#why === undefined) return `server ${pid} ended (${signalCode ?? `status ${exitCode}`})`
    return `server ${pid === undefined ? '' : `${pid}: `}${this.#why}`
  }
}

function whyNotStarted(program: string, error: unknown): string {
  const code = systemCode(error)
  if (code === 'ENOENT') return `cannot be started: ${program} is missing; install the package util-linux`
  return `cannot be started: ${program} (${code ?? error})`
}
