import { Miss } from '../../store/reader.ts'
import { errno } from '../errno.ts'
import type { Dispatcher } from '../protocol/dispatcher.ts'
import { interruptedKey, RequestView, requestKey } from '../protocol/request.ts'
import { writeReply } from './worker.ts'

/** Milliseconds after which the kernel asks again whether a request may be interrupted. */
const ASK_AGAIN_MS = 20

export interface MissesOptions {
  fd: number
  /** Of this thread. */
  dispatcher: Dispatcher
  /** Brings what is missing here, or throws. */
  fetch(miss: Miss): Promise<void>
  /** Hears why a request was answered with EIO. */
  failed(request: RequestView, error: unknown): void
}

/**
 * Requests that wait for blocks. They are answered again from the start when the block is there, as often as it takes;
 * none is answered in part. Each can be interrupted; then its block is still fetched, as others may want it.
 */
export class Misses {
  readonly #options: MissesOptions
  /** By the request's number: what ends its wait. */
  readonly #waiting = new Map<string, () => void>()
  #total = 0

  constructor(options: MissesOptions) {
    this.#options = options
  }

  /** Requests that wait now. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Requests that had to wait, up to now. */
  get total(): number {
    return this.#total
  }

  async take(bytes: Buffer): Promise<void> {
    const { dispatcher, fetch, failed } = this.#options
    const request = new RequestView(bytes)
    const key = requestKey(bytes)
    this.#total++
    let interrupted = false
    const interruption = new Promise<void>(resolve => {
      this.#waiting.set(key, () => {
        interrupted = true
        resolve()
      })
    })
    try {
      for (;;) {
        const answer = dispatcher.answer(request, bytes.length)
        if (!(answer instanceof Miss)) return this.#reply(answer)
        // The race hears of a fetch that fails, also when it is over.
        await Promise.race([fetch(answer), interruption])
        if (interrupted) return this.#reply(dispatcher.fail(request, errno.EINTR))
      }
    } catch (error) {
      failed(request, error)
      this.#reply(dispatcher.fail(request, errno.EIO))
    } finally {
      this.#waiting.delete(key)
    }
  }

  #reply(length: number): void {
    if (length > 0) writeReply(this.#options.fd, this.#options.dispatcher.output, length)
  }

  /**
   * INTERRUPT: the one who waits for a request was sent a signal. Answered through that request, at once. One that is
   * not known is being answered, or is on its way here: EAGAIN makes the kernel ask again, as long as it waits.
   */
  interrupt(bytes: Buffer): void {
    const end = this.#waiting.get(interruptedKey(bytes) ?? '')
    if (end !== undefined) return end()
    const { dispatcher } = this.#options
    setTimeout(() => this.#reply(dispatcher.fail(new RequestView(bytes), errno.EAGAIN)), ASK_AGAIN_MS)
  }
}
