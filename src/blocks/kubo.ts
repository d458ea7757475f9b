import { setTimeout as sleep } from 'node:timers/promises'
import type { create } from 'kubo-rpc-client'
import { CID } from 'multiformats/cid'
import { type CidBytes, cidText, readCid, verifyBlock } from '../cid.ts'
import { BlockStoreError, IntegrityError, MissingBlockError, NixIpfsError, systemCode } from '../errors.ts'
import type { BlockPins } from './types.ts'

/**
 * A Kubo node over its RPC API (https://docs.ipfs.tech/reference/kubo/rpc/): the one place that talks to it, so that
 * every failure is one line with its URL and cause.
 */

type Client = ReturnType<typeof create>

/** How long an answer about what the node itself has may take. */
const LOCAL_TIMEOUT_MS = 60_000
/** The same where it has to write, or to walk a whole DAG. */
const LONG_TIMEOUT_MS = 10 * LOCAL_TIMEOUT_MS
/** How long it may take to say that it is there, at most. */
const CHECK_TIMEOUT_MS = 10_000
/** How much longer we wait than we ask the node to: its own word on a timeout says more than silence. */
const GRACE_MS = 500
/** Node's timers take no more. */
const MAX_TIMER_MS = 2 ** 31 - 1
const FIRST_RETRY_MS = 50
const MAX_RETRY_MS = 1000

export interface KuboOptions {
  /** Of the RPC API, such as `http://127.0.0.1:5001`. */
  url: string
  /** How long a block is waited for, seconds; 0 for as long as it takes. */
  deadline: number
}

export class KuboNode implements BlockPins {
  readonly url: string
  readonly #deadlineMs: number
  #client: Promise<Client> | undefined

  constructor({ url, deadline }: KuboOptions) {
    this.url = url
    this.#deadlineMs = deadline * 1000
  }

  /** Loaded when first needed: most commands never talk to it. */
  #connect(): Promise<Client> {
    this.#client ??= import('kubo-rpc-client').then(({ create }) => create({ url: this.url }))
    return this.#client
  }

  /** Throws BlockStoreError unless a Kubo answers. */
  async check(): Promise<void> {
    const patience = Math.min(CHECK_TIMEOUT_MS, this.#deadlineMs || CHECK_TIMEOUT_MS)
    const { version } = await this.#ask('version', client => client.version(within(patience)))
    if (typeof version !== 'string') throw this.#error('it does not answer as Kubo does')
  }

  /** Stores the blocks of a CAR. Throws BlockStoreError. */
  async importCar(car: Uint8Array): Promise<void> {
    await this.#ask('dag import', async client => {
      for await (const _ of client.dag.import([car], { pinRoots: false, ...within(LONG_TIMEOUT_MS) }));
    })
  }

  /**
   * A block, from wherever the node finds it, verified. Tried again while the node cannot be reached. Throws
   * MissingBlockError after the deadline, IntegrityError where the bytes are not the CID's, BlockStoreError.
   */
  async get(cid: CidBytes): Promise<Uint8Array> {
    const end = this.#deadlineMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + this.#deadlineMs
    for (let wait = FIRST_RETRY_MS; ; wait = Math.min(MAX_RETRY_MS, wait * 2)) {
      try {
        const bytes = await this.#ask(`block ${cidText(cid)}`, client =>
          this.#getOnce(client, cid, end - performance.now()),
        )
        verifyBlock(cid, bytes)
        return bytes
      } catch (error) {
        if (error instanceof IntegrityError)
          throw new IntegrityError(`${error.message}; ${this.#name()} returned others`, { cause: error })
        if (!(error instanceof UnreachableError) || performance.now() + wait > end) throw error
        await sleep(wait)
      }
    }
  }

  async #getOnce(client: Client, cid: CidBytes, timeLeft: number): Promise<Uint8Array> {
    const options = within(timeLeft)
    try {
      return await client.block.get(CID.decode(cid), options)
    } catch (cause) {
      if ((cause as Error).name !== 'TimeoutError' || options.signal?.aborted) throw cause
      throw new MissingBlockError(
        `block ${cidText(cid)}: ${this.#name()} did not find it within ${this.#deadlineMs / 1000} s`,
        { cause },
      )
    }
  }

  /** True where these roots are pinned, each by itself. Throws BlockStoreError. */
  pinned(roots: readonly CidBytes[]): Promise<boolean> {
    return this.#ask('list of pins', async client => {
      const paths = roots.map(root => CID.decode(root))
      try {
        for await (const _ of client.pin.ls({ paths, type: 'recursive', ...within(LOCAL_TIMEOUT_MS) }));
        return true
      } catch (error) {
        if (/not pinned/.test((error as Error).message)) return false
        throw error
      }
    })
  }

  /** Removes blocks from its repository, but those that a pin keeps. Throws BlockStoreError. */
  async removeBlocks(cids: readonly CidBytes[]): Promise<void> {
    for (const cid of cids) {
      await this.#ask(`block rm ${cidText(cid)}`, async client => {
        for await (const { error } of client.block.rm(CID.decode(cid), { force: true, ...within(LOCAL_TIMEOUT_MS) })) {
          if (error && !/pinned/.test(error.message)) throw error
        }
      })
    }
  }

  /** True where the node has the block in its own repository. Throws BlockStoreError. */
  has(cid: CidBytes): Promise<boolean> {
    return this.#ask('block stat', async client => {
      try {
        await client.block.stat(CID.decode(cid), { ...offline, ...within(LOCAL_TIMEOUT_MS) })
        return true
      } catch (error) {
        if (/not found/.test((error as Error).message)) return false
        throw error
      }
    })
  }

  /** Throws BlockStoreError, also where a block is missing. */
  async add(name: string, roots: readonly CidBytes[]): Promise<void> {
    for (const root of roots) {
      await this.#ask(`pin of ${cidText(root)}`, client =>
        client.pin.add(CID.decode(root), { name, ...offline, ...within(LONG_TIMEOUT_MS) }),
      )
    }
  }

  async remove(roots: readonly CidBytes[]): Promise<void> {
    for (const root of roots) {
      await this.#ask(`pin of ${cidText(root)}`, async client => {
        try {
          await client.pin.rm(CID.decode(root), within(LOCAL_TIMEOUT_MS))
        } catch (error) {
          if (!/not pinned/.test((error as Error).message)) throw error
        }
      })
    }
  }

  async #ask<T>(what: string, question: (client: Client) => Promise<T>): Promise<T> {
    const client = await this.#connect()
    try {
      return await question(client)
    } catch (cause) {
      if (cause instanceof NixIpfsError) throw cause
      throw this.#explain(what, cause as Error)
    }
  }

  #explain(what: string, cause: Error): BlockStoreError {
    const status = (cause as { response?: { status?: number } }).response?.status
    if (status === 401 || status === 403)
      return this.#error(`it wants authorisation (HTTP ${status}); name the URL of one that lets you in`, cause)
    if (status === 404 || status === 405 || cause instanceof SyntaxError)
      return this.#error('it does not answer as Kubo does', cause)
    if (status !== undefined) return this.#error(`${what}: ${cause.message.trim().replace(/\s+/g, ' ')}`, cause)
    const code = systemCode(cause) ?? systemCode(cause.cause)
    const late = cause.name === 'TimeoutError' ? 'no answer in time' : undefined
    const why = late ?? code ?? (cause.cause instanceof Error ? cause.cause.message : cause.message)
    return new UnreachableError(
      `${this.#name()}: ${what}: cannot be reached (${why}); start it, or see whether the URL is right`,
      { cause },
    )
  }

  #error(why: string, cause?: Error): BlockStoreError {
    return new BlockStoreError(`${this.#name()}: ${why}`, { cause })
  }

  #name(): string {
    return `Kubo at ${this.url}`
  }
}

/** The node looks in its own repository only. Every command knows the option, though its type does not. */
const offline = { offline: true } as object

/** Limits one question. kubo-rpc-client hands its own option to the node and does not keep to it itself. */
function within(ms: number): { timeout?: number; signal?: AbortSignal } {
  if (!Number.isFinite(ms)) return {}
  const timeout = Math.min(Math.max(1, Math.ceil(ms)), MAX_TIMER_MS - GRACE_MS)
  return { timeout, signal: AbortSignal.timeout(timeout + GRACE_MS) }
}

/** The node may be there again a moment later. */
class UnreachableError extends BlockStoreError {}

/** The multihash that blocks are kept under. */
export function multihashKey(cid: CidBytes): string {
  return (readCid(cid)?.multihash ?? Buffer.alloc(0)).toString('latin1')
}
