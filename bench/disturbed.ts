import { setTimeout } from 'node:timers/promises'
import { PROVEN_MS } from '../src/fs/kernel/server-process.ts'
import { mountStatus, upgradeMount } from '../test/helpers/control.ts'
import { type Readers, type Seen, together } from '../test/helpers/readers.ts'
import { until } from '../test/helpers/until.ts'
import type { Seeded } from './seeded.ts'

/** How long the readers are watched without a disturbance, and at least how long with one. */
const WINDOW_MS = 500

/** A disturbance comes at any time within this. */
const JITTER_MS = 200

/** Generous: what takes this long is a failure, not a figure. */
const PATIENCE_MS = 60_000

const NOTHING: Seen = { operations: 0, bytes: 0, failures: 0, wrong: 0, median: 0, high: 0, longest: 0, call: 'none' }

/** What readers of a mount have seen while its servers were replaced. */
export class Disturbed {
  /** Of the windows without a disturbance, and of those with one, in the same order. */
  readonly calm: Seen[] = []
  readonly stirred: Seen[] = []
  /** Of the whole time. */
  all = NOTHING
  readonly #mountpoint: string
  readonly #readers: Readers
  readonly #random: Seeded

  constructor(mountpoint: string, readers: Readers, random: Seeded) {
    this.#mountpoint = mountpoint
    this.#readers = readers
    this.#random = random
  }

  /** Kills the active server, once a standby is warm where there is to be one. */
  async kill({ standby }: { standby: boolean }): Promise<void> {
    await this.#around(standby, async () => {
      const { pid, supervisor } = await mountStatus(this.#mountpoint)
      if (pid === supervisor) throw new Error(`${this.#mountpoint}: there is no supervisor`)
      process.kill(pid, 'SIGKILL')
      await until('another server', async () => (await mountStatus(this.#mountpoint)).pid !== pid, PATIENCE_MS)
    })
  }

  /** Hands over to a new server. */
  async upgrade(): Promise<void> {
    await this.#around(true, () => upgradeMount(this.#mountpoint))
  }

  async #around(standby: boolean, disturb: () => Promise<void>): Promise<void> {
    await until('a standby', async () => (await mountStatus(this.#mountpoint)).standby === standby, PATIENCE_MS)
    // Servers that fail to start one after the other end the mount. With a standby it has shown that this one has not.
    if (!standby) await setTimeout(PROVEN_MS)
    await setTimeout(this.#random.below(JITTER_MS))
    await this.#seen()
    await setTimeout(WINDOW_MS)
    const calm = await this.#seen()
    const windowEnds = setTimeout(WINDOW_MS)
    await disturb()
    await windowEnds
    let stirred = await this.#seen()
    // Until they read again: the longest call is then over, and known.
    await until('the readers go on', async () => {
      const more = await this.#seen()
      stirred = together(stirred, more)
      return more.operations > 0
    })
    this.calm.push(calm)
    this.stirred.push(stirred)
  }

  async #seen(): Promise<Seen> {
    const seen = await this.#readers.seen()
    this.all = together(this.all, seen)
    return seen
  }
}
