import { setTimeout as sleep } from 'node:timers/promises'
import { MountError } from '../../errors.ts'
import type { ServerStatus } from '../status.ts'
import type { Ending, MountedFs } from '../types.ts'
import { Backoff } from './backoff.ts'
import { Deferred } from './deferred.ts'
import type { Negotiated } from './ipc.ts'
import { type ServerNews, ServerProcess } from './server-process.ts'
import type { SupervisorOptions } from './supervisor-options.ts'

/** Servers that end unproven one after the other before the mount is given up. */
const MAX_FAILURES = 6
/** How often servers are asked whether they are there, and the mount is looked for. */
const WATCH_MS = 1000
/** How long a server may take for the status, and for unmounting, which may ask it something, before it is ended. */
const PATIENCE_MS = 5000
/** The first standby starts so long after the mount: whoever has waited for the mount needs the processors more. */
const FIRST_STANDBY_MS = 1000

const UNMOUNTED: Ending = { why: 'it was unmounted from outside', failed: false }

/**
 * Holds the mount: the device, what was negotiated on it and the highest node id. A server is a child; when it ends
 * another takes over, also the requests that it had not answered, and who reads notices a pause. What is foreign is
 * not parsed here and no store is opened, so that little can fail.
 */
export class Supervisor implements Omit<MountedFs, 'pathsChanged'> {
  mounted = new Date()
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
  /** Of servers that end unproven, and of standbys that end before they are ready. */
  readonly #restarting = new Backoff(100, MAX_FAILURES)
  readonly #standing = new Backoff(1000, 6)
  #over = false
  #upgrading: Deferred | undefined
  #watch: NodeJS.Timeout | undefined
  /** A server answers. */
  #serving = new Deferred()
  readonly #ended = new Deferred<Ending | undefined>()
  readonly ended = this.#ended.promise

  constructor(options: SupervisorOptions) {
    this.#options = options
  }

  /** Mounts; resolves when a server answers. Throws MountError. */
  async start(): Promise<void> {
    this.#watch = setInterval(() => this.#look(), WATCH_MS)
    await this.#mount()
    await this.#serving.promise
  }

  /** A server starts while the kernel mounts. */
  async #mount(): Promise<void> {
    this.#negotiated = undefined
    this.#used = false
    try {
      this.#fd = this.#options.openDevice()
      this.#prepare()
      this.#mounting = this.#options.mount(this.#fd)
      await this.#mounting
      this.#mounted = true
      this.mounted = new Date()
      if (this.#next?.ready) this.#begin(this.#next)
    } catch (error) {
      this.#finish({ why: (error as Error).message, failed: true })
    }
  }

  /** A second server is warm: it takes over at once. */
  get hasStandby(): boolean {
    return this.#next?.warm === true
  }

  /** Starts the server that will serve next, unless there is one. */
  #prepare(): void {
    if (this.#over || this.#next !== undefined || this.#fd < 0) return
    this.#next = new ServerProcess(this.#options.command, this.#fd, {
      message: (server, message) => this.#hear(server, message),
      gone: server => this.#gone(server),
    })
  }

  #hear(server: ServerProcess, message: ServerNews): void {
    if (this.#over || (server !== this.#active && server !== this.#next)) return
    switch (message.type) {
      case 'ready':
        return this.#mounted && this.#active === undefined ? this.#begin(server) : undefined
      case 'warm':
        return server === this.#next && this.#active !== undefined ? this.#follow(this.#active) : undefined
      case 'negotiated':
        this.#negotiated = message.negotiated
        this.#keep()
        return server.send({ type: 'kept' })
      case 'serving':
        return message.resend ? this.#serves(server) : void this.#mountAgain()
      case 'highest':
        this.#highestNode = message.node
        return this.#keep()
      case 'ended':
        return this.#finish(UNMOUNTED)
      case 'stuck':
        return server.kill('was stuck')
      case 'failed':
        // What keeps the next one from starting has not kept this one from serving.
        if (this.#active !== undefined && server === this.#next) return server.kill(message.why)
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
    server.send({ type: 'start', negotiated: this.#negotiated, resend: this.#used, highestNode: this.#highestNode })
    this.#used = true
  }

  /** The one that follows is warm. */
  #follow(active: ServerProcess): void {
    active.proven = true
    this.#standing.succeed()
    if (this.#upgrading !== undefined) active.kill()
  }

  #serves(server: ServerProcess): void {
    server.since = performance.now()
    this.#options.answers()
    this.#serving.resolve()
    this.#upgrading?.resolve()
    this.#upgrading = undefined
    if (this.#options.standby) setTimeout(() => this.#prepare(), this.restarts ? 0 : FIRST_STANDBY_MS).unref()
  }

  #gone(server: ServerProcess): void {
    const wasActive = server === this.#active
    if (this.#over || (!wasActive && server !== this.#next)) return
    if (wasActive) this.#active = undefined
    else this.#next = undefined
    if (this.#active !== undefined) return this.#standbyGone(server)
    if (server.since !== undefined) this.#serving = new Deferred()
    const pause = server.isProven() ? this.#restarting.succeed() : this.#restarting.fail()
    if (this.#restarting.failures > MAX_FAILURES)
      return this.#finish({ why: 'its server ended again and again right after its start', failed: true })
    if (wasActive) this.restarts++
    if (wasActive && this.#upgrading !== undefined) this.upgrades++
    else this.#options.log.warn(`${server.describe()}; another takes over`)
    if (this.#mounted && this.#next?.ready) return this.#begin(this.#next)
    setTimeout(() => this.#prepare(), pause)
  }

  #standbyGone(server: ServerProcess): void {
    if (this.#upgrading !== undefined) this.#refuseUpgrade(`${server.describe()}; the server before it goes on`)
    else this.#options.log.warn(`standby ${server.describe()}; another is started`)
    if (this.#options.standby) setTimeout(() => this.#prepare(), this.#standing.fail())
  }

  #look(): void {
    if (this.#mounted && !this.#options.isMounted()) return this.#finish(UNMOUNTED)
    for (const server of [this.#active, this.#next])
      if (server?.isThere() === false) server.kill('does not answer and was ended')
  }

  /** Before Linux 6.9 no server can be given what another has taken: who waits gets an error, and we mount anew. */
  async #mountAgain(): Promise<void> {
    const { log, mountpoint } = this.#options
    log.warn(`${mountpoint}: this kernel cannot resend requests (Linux 6.9 and newer can), so it is mounted again`)
    await this.#takeDown().catch((error: Error) => this.#finish({ why: error.message, failed: true }))
    if (!this.#over) await this.#mount()
  }

  /** Starts a new server, of a new version where one is installed, and hands over to it. Throws MountError. */
  upgrade(): Promise<void> {
    if (this.#upgrading !== undefined || this.#active?.since === undefined)
      return Promise.reject(new MountError('another server is taking over just now; try again'))
    this.#upgrading = new Deferred()
    this.#next?.kill() // of the version before
    this.#next = undefined
    this.#prepare()
    return this.#upgrading.promise
  }

  #refuseUpgrade(why: string): void {
    this.#upgrading?.reject(new MountError(why))
    this.#upgrading = undefined
  }

  /** What the server says of itself; undefined where none answers within {@link PATIENCE_MS}. */
  async status(): Promise<ServerStatus | undefined> {
    const late = performance.now() + PATIENCE_MS
    for (;;) {
      await Promise.race([this.#serving.promise, sleep(PATIENCE_MS)]).catch(() => {})
      const status = await this.#active?.status(PATIENCE_MS)
      if (status !== undefined || this.#over || performance.now() > late) return status
    }
  }

  async unmount(): Promise<void> {
    this.#finish(undefined)
    await this.ended
  }

  /** While a server answers, unmounting lets who is inside finish; then nobody may be left who waits. */
  async #takeDown(): Promise<void> {
    const { unmount, closeDevice } = this.#options
    await this.#mounting?.catch(() => {})
    if (this.#active?.since !== undefined) await Promise.race([unmount().catch(() => {}), sleep(PATIENCE_MS)])
    for (const server of [this.#active, this.#next]) server?.kill()
    this.#active = this.#next = undefined
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
      // Who stops it while it starts has asked for it.
      if (last !== undefined) this.#serving.reject(new MountError(last.why))
      this.#ended.resolve(last)
    }
    this.#takeDown().then(
      () => done(ending),
      (error: Error) => done({ why: error.message, failed: true }),
    )
  }
}
