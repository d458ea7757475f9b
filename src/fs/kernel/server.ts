import { writeSync } from 'node:fs'
import type { Worker } from 'node:worker_threads'
import { DamagedError, systemCode } from '../../errors.ts'
import { COUNTERS, type IndexReader } from '../../index/types.ts'
import type { Logger } from '../../log.ts'
import type { Miss } from '../../store/reader.ts'
import { type Counters, counter } from '../counters.ts'
import { errno } from '../errno.ts'
import { FUSE } from '../protocol/constants.ts'
import type { Dispatcher } from '../protocol/dispatcher.ts'
import { negotiate } from '../protocol/init.ts'
import { resend } from '../protocol/notify.ts'
import { operationName } from '../protocol/operations.ts'
import { opcodeOf, RequestView } from '../protocol/request.ts'
import { RecentErrors, type ServerStatus } from '../status.ts'
import { RootChanges } from './changes.ts'
import type { FromServer, FromSupervisor, Negotiated } from './ipc.ts'
import { Misses } from './misses.ts'
import { writeReply } from './worker.ts'

/** How often the index is asked for other processes' commits. */
const POLL_MS = 100
/** How often it is looked for threads that are stuck, and for another index in the place of this one. */
const CHECK_MS = 1000
/** A thread that has been at one request for so long answers nobody any more. */
const STUCK_MS = 10_000

/** What a worker thread says to the thread that started it. */
export type FromWorker =
  | { type: 'ready' }
  | { type: 'request'; bytes: Uint8Array }
  | { type: 'failed'; message: string }
  /** The device says that it is unmounted. */
  | { type: 'ended' }

export interface ServerOptions {
  /** /dev/fuse, mounted. */
  fd: number
  /** The thread that is ready first, to answer until the others are. */
  early: Worker
  /** Starts the others, which are ready when they have warmed up. All wait for {@link ServerOptions.release}. */
  startOthers(): readonly Worker[]
  /** Lets the first one end after its next request. */
  retireEarly(): void
  /** Lets the workers read the device. */
  release(): void
  /** Of this thread, for requests that wait. */
  dispatcher: Dispatcher
  /** One row for each of the others, the early worker's, then this thread's. */
  counters: Counters
  index: IndexReader
  fetch(miss: Miss): Promise<void>
  /** By source, what was fetched. */
  fetched(): ServerStatus['fetched']
  /** Mount points of overlays that have this mount among their lower layers. */
  overlays(): string[]
  /** False as on a kernel before Linux 6.9, which cannot make requests pending again. */
  canResend: boolean
  version: string
  log: Logger
  send(message: FromServer): void
}

/**
 * The main thread of a server: it answers what takes time, watches the index and the workers, and speaks with the
 * supervisor. It never reads the device.
 */
export class FuseServer {
  readonly #options: ServerOptions
  readonly #misses: Misses
  readonly #errors = new RecentErrors()
  #since = new Date()
  #started = false
  #negotiated: Negotiated | undefined
  /** INIT, while the supervisor has not yet said that its answer is kept. */
  #init: RequestView | undefined
  #changes: RootChanges | undefined
  #highest = 0
  /** Workers that are not ready yet; undefined while the early one is not. */
  #starting: number | undefined
  /** For each worker, what it had taken when it was last looked at, and since when it has been at that. */
  readonly #beats: { taken: number; since: number }[] = []

  constructor(options: ServerOptions) {
    this.#options = options
    const { counters, dispatcher, early, fd } = options
    this.#misses = new Misses({
      fd,
      dispatcher,
      fetch: options.fetch,
      failed: (request, error) => {
        counters.row(counters.rows - 1)[counter.failures]!++
        this.failed(`${dispatcher.describe(request)}: ${(error as Error).message}`)
      },
    })
    for (let thread = 0; thread < counters.rows - 1; thread++) this.#beats.push({ taken: 0, since: 0 })
    this.#listen(early)
  }

  #listen(worker: Worker): void {
    worker.on('message', (message: FromWorker) => this.#hear(message))
    // Thrown again here: whatever it is, this server cannot go on.
    worker.on('error', error => {
      throw error
    })
  }

  #ready(): void {
    if (this.#starting === undefined) {
      this.#options.send({ type: 'ready' })
      const others = this.#options.startOthers()
      this.#starting = others.length
      for (const worker of others) this.#listen(worker)
    } else if (--this.#starting === 0) {
      this.#options.retireEarly()
      this.#options.send({ type: 'warm' })
    }
  }

  receive(message: FromSupervisor): void {
    switch (message.type) {
      case 'start':
        return this.#start(message)
      case 'kept':
        return this.#answerInit()
      case 'status':
        return this.#options.send({ type: 'status', id: message.id, status: this.#status() })
    }
  }

  #hear(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        return this.#ready()
      case 'request':
        return this.#take(Buffer.from(message.bytes.buffer, message.bytes.byteOffset, message.bytes.length))
      case 'failed':
        return this.failed(message.message)
      case 'ended':
        return this.#options.send({ type: 'ended' })
    }
  }

  /** A request was answered with EIO. */
  failed(message: string): void {
    this.#options.log.warn(message)
    this.#errors.add(message)
  }

  #start({ negotiated, resend: again, highestNode }: FromSupervisor & { type: 'start' }): void {
    const { canResend, fd, index, log, overlays, release, send } = this.#options
    this.#highest = highestNode
    if (!this.#checkIndex()) return
    if (again && !(canResend && writeResend(fd))) return send({ type: 'serving', resend: false })
    this.#started = true
    this.#since = new Date()
    this.#negotiated = negotiated
    this.#changes = new RootChanges({ fd, index, log, overlays, fresh: negotiated === undefined })
    release()
    setInterval(() => this.#poll(), POLL_MS)
    setInterval(() => this.#checkWorkers(), CHECK_MS)
    if (negotiated !== undefined) send({ type: 'serving', resend: true })
  }

  #take(bytes: Buffer): void {
    switch (opcodeOf(bytes)) {
      case FUSE.INIT:
        return this.#negotiate(bytes)
      case FUSE.INTERRUPT:
        return this.#misses.interrupt(bytes)
      default:
        this.#misses.take(bytes)
    }
  }

  #negotiate(bytes: Buffer): void {
    const { dispatcher, fd, send } = this.#options
    const request = new RequestView(bytes)
    const reply = negotiate(bytes)
    if ('refused' in reply) {
      writeReply(fd, dispatcher.output, dispatcher.fail(request, errno.EPROTO))
      return send({ type: 'failed', why: reply.refused })
    }
    this.#init = request
    this.#negotiated = reply.toString('hex')
    send({ type: 'negotiated', negotiated: this.#negotiated })
  }

  #answerInit(): void {
    const { dispatcher, fd, send } = this.#options
    if (this.#init === undefined || this.#negotiated === undefined) return
    writeReply(fd, dispatcher.output, dispatcher.succeed(this.#init, Buffer.from(this.#negotiated, 'hex')))
    this.#init = undefined
    send({ type: 'serving', resend: true })
  }

  #poll(): void {
    this.#options.index.refresh()
    if (!this.#checkIndex()) return
    try {
      this.#changes?.look()
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error
      // What is not damaged is served; until the next commit there is nothing to look for again.
      this.failed(error.message)
    }
  }

  /** Where it cannot be gone on with, the supervisor is told why. */
  #checkIndex(): boolean {
    const { index, send } = this.#options
    try {
      const next = index.nextNode()
      if (this.#isAnother(next)) {
        send({ type: 'failed', why: 'the index was replaced by another, or by an older one of its own; mount again' })
        return false
      }
      if (next > this.#highest) send({ type: 'highest', node: next })
      this.#highest = next
      return true
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error
      send({ type: 'failed', why: error.message })
      return false
    }
  }

  /**
   * Node ids that the kernel knows must mean what they meant: an older index would give some of them out again, and
   * one of another epoch knows nothing of them.
   */
  #isAnother(next: number): boolean {
    const highest = this.#highest
    const foreign = highest > 0 && Math.floor(next / COUNTERS) !== Math.floor(highest / COUNTERS)
    return foreign || next < highest || this.#options.index.isReplaced()
  }

  #checkWorkers(): void {
    const { counters, log, send } = this.#options
    const now = performance.now()
    for (const [thread, beat] of this.#beats.entries()) {
      const row = counters.row(thread)
      if (row[counter.busy] === 0 || row[counter.taken] !== beat.taken) {
        beat.taken = row[counter.taken]!
        beat.since = now
      } else if (now - beat.since > STUCK_MS) {
        log.warn(`a thread has been at one request for ${STUCK_MS / 1000} s; another server takes over`)
        send({ type: 'stuck' })
        beat.since = now
      }
    }
  }

  #status(): ServerStatus {
    const { counters, index, version, fetched } = this.#options
    const requests: Record<string, number> = {}
    for (const [opcode, count] of counters.requests()) requests[operationName(opcode)] = count
    return {
      pid: process.pid,
      version,
      since: this.#since.toISOString(),
      requests,
      messages: counters.sum(counter.taken),
      misses: this.#misses.total,
      inFlight: this.#misses.waiting,
      bytesRead: counters.sum(counter.bytesRead),
      fetched: fetched(),
      failures: counters.sum(counter.failures),
      malformed: counters.sum(counter.malformed),
      lastErrors: this.#errors.list(),
      paths: this.#started ? index.pathCount() : 0,
    }
  }
}

/** Makes pending again what an earlier server had taken. False where the kernel does not know how (before 6.9). */
function writeResend(fd: number): boolean {
  try {
    writeSync(fd, resend())
    return true
  } catch (error) {
    if (systemCode(error) === 'EINVAL') return false
    throw error
  }
}
