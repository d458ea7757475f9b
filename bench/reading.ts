import { output } from '../test/helpers/run.ts'
import { failureFact } from './failure.ts'
import { dropCaches, type Micro } from './measure.ts'
import { Messages } from './read-messages.ts'
import { type Operation, STATES, type State } from './read-operations.ts'
import { NATIVE, type OpenSubject, type Subject, type Trees } from './read-subjects.ts'
import { median } from './statistics.ts'
import type { Fact, Measurement } from './types.ts'

/** Passes over a warm tree: the median is what counts, since one alone is over in some milliseconds. */
export const WARM_PASSES = 5

/** Cold passes, with caches dropped before each: the median counts. */
export const COLD_PASSES = 3

const EVERYTHING = 'everything'

/** What was measured so far, and who is left out of what. The files on the disk must be measured first. */
export class Reading {
  readonly messages = new Messages()
  readonly #micro: Micro
  readonly #sample: string
  readonly #trees: Trees
  readonly #measurements: Measurement[] = []
  /** Why, by subject and operation. */
  readonly #leftOut = new Map<string, unknown>()
  /** What native has found, by operation. */
  readonly #found = new Map<string, string>()

  constructor(micro: Micro, sample: string, trees: Trees) {
    this.#micro = micro
    this.#sample = sample
    this.#trees = trees
  }

  /** Of the subjects in this order. */
  measurements(subjects: readonly Subject[]): Measurement[] {
    return subjects.flatMap(({ name }) => this.#measurements.filter(({ subject }) => subject === name))
  }

  facts(): Fact[] {
    const leftOut = [...this.#leftOut].map(([key, why]) => failureFact(`${key}: left out`, why))
    return [...leftOut, ...this.messages.facts()]
  }

  /** Every name, type and byte must be the same, or else there is nothing to compare. */
  compare(subject: Subject): Promise<void> {
    return this.#orLeaveOut(subject, EVERYTHING, async open => {
      for (const name of Object.keys(open.trees) as (keyof Trees)[]) {
        const folders = [this.#trees[name], open.trees[name]]
        await output('diff', ['-r', '--no-dereference', ...folders], { timeout: 600_000 })
      }
    })
  }

  /**
   * Starts the subject anew, so that its own caches are empty; then the kernel forgets everything, also what the start
   * has read. Further passes are after the kernel has forgotten everything again, and after it has not. The measuring
   * programs themselves are read again before the clock runs.
   */
  async measure(operation: Operation, subject: Subject): Promise<void> {
    if (this.#leftOut.has(keyOf(subject, EVERYTHING)) || this.#leftOut.has(keyOf(subject, operation.name))) return
    await dropCaches()
    await this.#orLeaveOut(subject, operation.name, async open => {
      const forgotten = async (state: State) => {
        await dropCaches()
        await operation.warmUp(this.#micro, this.#sample)
        return this.#passes(operation, subject, open, state, 1)
      }
      const started = await forgotten('just started')
      await open.settled?.()
      const cold: number[] = []
      while (cold.length < COLD_PASSES) cold.push(await forgotten('cold'))
      const warm = await this.#passes(operation, subject, open, 'warm', WARM_PASSES)
      this.#enter(operation, subject, { 'just started': started, cold: median(cold), warm })
    })
  }

  async #passes(operation: Operation, subject: Subject, open: OpenSubject, state: State, count: number) {
    const passes = () => operation.passes(this.#micro, open.trees[operation.tree], count)
    const key = { operation: operation.name, subject: subject.name, state }
    const { seconds, found } = await this.messages.during(open, key, passes)
    if (subject.name === NATIVE) this.#found.set(operation.name, found)
    if (found !== this.#found.get(operation.name)) throw new Error(`finds something else than ${NATIVE} does`)
    return median(seconds)
  }

  #enter({ name, amount, unit }: Operation, subject: Subject, seconds: Record<State, number>): void {
    for (const state of STATES) {
      const operation = `${name}, ${state}`
      const is = (entry: Measurement) => entry.operation === operation && entry.subject === subject.name
      const known = this.#measurements.find(is)
      const round = { seconds: seconds[state] }
      if (known !== undefined) known.rounds.push(round)
      else this.#measurements.push({ operation, subject: subject.name, amount, unit, rounds: [round] })
    }
  }

  /** Who cannot do something is left out of it in all rounds, and the reason is kept. */
  async #orLeaveOut(subject: Subject, what: string, action: (open: OpenSubject) => Promise<void>): Promise<void> {
    try {
      const open = await subject.open()
      try {
        await action(open)
      } finally {
        await open.close()
      }
    } catch (error) {
      if (subject.name === NATIVE) throw error
      this.#leftOut.set(keyOf(subject, what), error)
      const states = STATES.map(state => `${what}, ${state}`)
      const kept = this.#measurements.filter(
        entry => entry.subject !== subject.name || !states.includes(entry.operation),
      )
      this.#measurements.splice(0, this.#measurements.length, ...kept)
    }
  }
}

function keyOf({ name }: Subject, what: string): string {
  return `${name}, ${what}`
}
