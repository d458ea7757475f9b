import { setTimeout as sleep } from 'node:timers/promises'
import { MountError } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import type { ServerStatus } from '../status.ts'
import type { Ending, MountedFs } from '../types.ts'
import { Deferred } from './deferred.ts'
import type { FromServer, Negotiated } from './ipc.ts'
import { ServerProcess } from './server-process.ts'

/** A server that has served for so long has not failed to start, whatever ends it. */
const PROVEN_MS = 1000
/** Servers that end unproven one after the other before the mount is given up, and the first pause between two. */
const MAX_FAILURES = 6
const FIRST_PAUSE_MS = 100
/** How often servers are asked whether they are there. */
const ASK_MS = 1000
/** Questions in a row that a server may leave unanswered: one that is ready, and one that is starting. */
const MAX_UNANSWERED = 8
const MAX_UNANSWERED_STARTING = 60
/** How long unmounting may take while a server lives; without one, nothing that unmounting asks is answered. */
const UNMOUNT_MS = 5000

export interface SupervisorOptions {
  mountpoint: string
  /** Program and arguments of a server. */
  command: readonly string[]
  openDevice(): number
  /** Mounts the device: at the start, and another where the kernel cannot resend. Throws MountError. */
  mount(fd: number): Promise<void>
  /** Takes the mount away, also where it is busy. Throws MountError. */
  unmount(): Promise<void>
  /** False when somebody else has unmounted it; who has files open there goes on reading them till then. */
  isMounted(): boolean
  closeDevice(fd: number): void
  /** Keeps what the next server must know where a crash of ours would leave it. */
  keep(state: { negotiated: Negotiated | undefined; highestNode: number }): void
  /** A server has begun to answer. */
  answers(): void
  /** Whether a second server waits, ready to take over. */
  standby: boolean
  log: Logger
}

/**
 * Holds the mount: the device, what was negotiated on it and the highest node id. A server is a child; when it ends
 * another takes over, also the requests that it had not answered, and who reads notices a pause. What is foreign is
 * not parsed here and no store is opened, so that little can fail.
 */
export class Supervisor implements MountedFs {
  readonly ended: Promise<Ending | undefined>
  readonly mounted = new Date()
  /** Times that another server took over, and how many of them were upgrades. */
  restarts = 0
  upgrades = 0
  readonly #options: SupervisorOptions
  #fd = -1
  /** Settled when there is something to unmount, or will not be. */
  #mounting: Promise<void> | undefined
  #mounted = false
  #active: ServerProcess | undefined
  /** The one that comes next, ready or starting. */
  #next: ServerProcess | undefined
  #negotiated: Negotiated | undefined
  #highestNode = 0
  /** A server has had this device before. */
  #used = false
  #failures = 0
  #over = false
  #upgrading: Deferred | undefined
  readonly #questions = new Map<number, (status: ServerStatus) => void>()
  #lastQuestion = 0
  #watch: NodeJS.Timeout | undefined
  readonly #serving = new Deferred()
  #end!: (ending: Ending | undefined) => void

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.ended = new Promise(resolve => {
      this.#end = resolve
    })
  }

  /** Mounts; resolves when a server answers. Throws MountError. */
  async start(): Promise<void> {
    this.#watch = setInterval(() => this.#ask(), ASK_MS)
    try {
      await this.#mount()
    } catch (error) {
      this.#finish({ why: (error as Error).message, failed: true })
      await this.ended
      throw error
    }
    await this.#serving.promise
  }

  /** A server starts while the kernel mounts. */
  async #mount(): Promise<void> {
    this.#fd = this.#options.openDevice()
    this.#mounted = false
    this.#prepare()
    this.#mounting = this.#options.mount(this.#fd)
    await this.#mounting
    this.#mounted = true
    if (this.#next?.ready) this.#begin(this.#next)
  }

  /** Of the server that answers now. */
  get pid(): number | undefined {
    return this.#active?.pid
  }

  /** A second server is ready to take over at once. */
  get hasStandby(): boolean {
    return this.#next?.ready === true
  }

  /** Starts the server that will serve next, unless there is one. */
  #prepare(): void {
    if (this.#over || this.#next !== undefined || this.#fd < 0) return
    this.#next = new ServerProcess(this.#options.command, this.#fd, {
      message: (server, message) => this.#hear(server, message),
      gone: server => this.#gone(server),
    })
  }

  #hear(server: ServerProcess, message: FromServer): void {
    if (this.#over || (server !== this.#active && server !== this.#next)) return
    switch (message.type) {
      case 'ready':
        server.ready = true
        server.unanswered = 0
        if (this.#active !== undefined) return this.#follow(this.#active)
        return this.#mounted ? this.#begin(server) : undefined
      case 'negotiated':
        this.#negotiated = message.negotiated
        this.#keep()
        return server.send({ type: 'kept' })
      case 'serving':
        return message.resend ? this.#serves(server) : void this.#mountAgain()
      case 'highest':
        this.#highestNode = message.node
        return this.#keep()
      case 'status':
        server.unanswered = 0
        this.#questions.get(message.id)?.(message.status)
        return void this.#questions.delete(message.id)
      case 'ended':
        return this.#unmounted()
      case 'failed':
        return this.#finish({ why: message.why, failed: true })
    }
  }

  #keep(): void {
    this.#options.keep({ negotiated: this.#negotiated, highestNode: this.#highestNode })
  }

  /** Hands the device to a server that is ready. */
  #begin(server: ServerProcess): void {
    this.#active = server
    this.#next = undefined
    const resend = this.#used
    this.#used = true
    server.send({ type: 'start', negotiated: this.#negotiated, resend, highestNode: this.#highestNode })
  }

  /** The one that follows is ready. */
  #follow(active: ServerProcess): void {
    active.proven = true
    if (this.#upgrading !== undefined) active.kill()
  }

  #serves(server: ServerProcess): void {
    server.since = performance.now()
    this.#options.answers()
    this.#serving.resolve()
    this.#upgrading?.resolve()
    this.#upgrading = undefined
    if (this.#options.standby) this.#prepare()
  }

  #gone(server: ServerProcess): void {
    const wasActive = server === this.#active
    if (this.#over || (!wasActive && server !== this.#next)) return
    if (wasActive) this.#active = undefined
    else this.#next = undefined
    if (this.#active !== undefined) {
      this.#refuseUpgrade('the new server ended before it was ready')
      if (this.#options.standby) setTimeout(() => this.#prepare(), ASK_MS)
      return
    }
    const proven = server.proven || (server.since !== undefined && performance.now() - server.since > PROVEN_MS)
    this.#failures = proven ? 0 : this.#failures + 1
    if (this.#failures > MAX_FAILURES)
      return this.#finish({ why: 'its server ended again and again right after its start', failed: true })
    if (wasActive) this.restarts++
    if (wasActive && this.#upgrading !== undefined) this.upgrades++
    else this.#options.log.warn(`${server.describe()}; another takes over`)
    if (this.#mounted && this.#next?.ready) return this.#begin(this.#next)
    setTimeout(() => this.#prepare(), this.#failures > 1 ? FIRST_PAUSE_MS * 2 ** (this.#failures - 2) : 0)
  }

  #ask(): void {
    if (this.#mounted && !this.#options.isMounted()) return this.#unmounted()
    for (const server of [this.#active, this.#next]) {
      if (server === undefined) continue
      if (server.unanswered++ >= (server.ready ? MAX_UNANSWERED : MAX_UNANSWERED_STARTING)) {
        this.#options.log.warn(`server ${server.pid} does not answer and is ended`)
        server.kill()
      } else if (server.ready) server.send({ type: 'status', id: 0 })
    }
  }

  /** Before Linux 6.9 no server can be given what another has taken: who waits gets an error, and we mount anew. */
  async #mountAgain(): Promise<void> {
    const { log, mountpoint } = this.#options
    log.warn(`${mountpoint}: this kernel cannot resend requests (Linux 6.9 and newer can), so it is mounted again`)
    try {
      await this.#takeDown()
      if (this.#over) return
      this.#negotiated = undefined
      this.#used = false
      await this.#mount()
    } catch (error) {
      this.#finish({ why: (error as Error).message, failed: true })
    }
  }

  /** Starts a new server, of a new version where one is installed, and hands over to it. Throws MountError. */
  upgrade(): Promise<void> {
    if (this.#upgrading !== undefined || this.#active?.since === undefined)
      return Promise.reject(new MountError('another server is taking over just now; try again'))
    this.#upgrading = new Deferred()
    // Of the version before.
    this.#next?.kill()
    this.#next = undefined
    this.#prepare()
    return this.#upgrading.promise
  }

  #refuseUpgrade(why: string): void {
    this.#upgrading?.reject(new MountError(`${why}; the one before goes on`))
    this.#upgrading = undefined
  }

  /** What the server says of itself; undefined where none answers just now. */
  status(): Promise<ServerStatus | undefined> {
    const server = this.#active
    if (server === undefined) return Promise.resolve(undefined)
    const id = ++this.#lastQuestion
    return new Promise(resolve => {
      this.#questions.set(id, resolve)
      setTimeout(() => this.#questions.delete(id) && resolve(undefined), ASK_MS)
      server.send({ type: 'status', id })
    })
  }

  /** Nothing to do: servers see for themselves what is committed. */
  pathsChanged(): void {}

  async unmount(): Promise<void> {
    this.#finish(undefined)
    await this.ended
  }

  #unmounted(): void {
    this.#finish({ why: 'it was unmounted from outside', failed: false })
  }

  /** While a server answers, unmounting lets who is inside finish; then nobody may be left who waits. */
  async #takeDown(): Promise<void> {
    const { unmount, closeDevice } = this.#options
    await this.#mounting?.catch(() => {})
    if (this.#active?.since !== undefined) await Promise.race([unmount().catch(() => {}), sleep(UNMOUNT_MS)])
    for (const server of [this.#active, this.#next]) server?.kill()
    this.#active = undefined
    this.#next = undefined
    if (this.#fd >= 0) closeDevice(this.#fd)
    this.#fd = -1
    this.#mounted = false
    await unmount()
  }

  /** Ends the mount, once. Where it cannot be unmounted, it is dead all the same, and nobody is left waiting. */
  #finish(ending: Ending | undefined): void {
    if (this.#over) return
    this.#over = true
    clearInterval(this.#watch)
    this.#refuseUpgrade('the mount ends')
    const done = (last: Ending | undefined) => {
      this.#serving.reject(new MountError(last?.why ?? `${this.#options.mountpoint}: it was stopped`))
      this.#end(last)
    }
    this.#takeDown().then(
      () => done(ending),
      (error: Error) => done({ why: error.message, failed: true }),
    )
  }
}
