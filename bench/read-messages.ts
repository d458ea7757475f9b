import type { State } from './read-operations.ts'
import type { OpenSubject } from './read-subjects.ts'
import type { Fact } from './types.ts'

/** Requests that the kernel sends when it pleases, to say what it has forgotten. */
const FORGETS = ['FORGET', 'BATCH_FORGET']

type Requests = Record<string, number>

interface Key {
  operation: string
  subject: string
  state: State
}

/** Counts the FUSE messages of passes, by operation and subject. */
export class Messages {
  readonly #cold = new Map<string, Requests>()
  readonly #warm = new Map<string, Requests>()
  /** Of the worst round, by operation, FORGET left out. */
  readonly warm = new Map<string, number>()

  /** Does the passes and counts meanwhile, where the subject counts. */
  async during<T>(open: OpenSubject, key: Key, passes: () => Promise<T>): Promise<T> {
    const before = await open.messages?.()
    const result = await passes()
    const after = await open.messages?.()
    if (before !== undefined && after !== undefined) this.#enter(key, before, after)
    return result
  }

  /** Who was just started is asked the same as who is cold. */
  #enter(key: Key, before: Requests, after: Requests): void {
    if (key.state === 'just started') return
    const came: Requests = {}
    for (const [name, count] of Object.entries(after)) {
      const more = count - (before[name] ?? 0)
      if (more > 0) came[name] = more
    }
    const what = `${key.operation}, ${key.subject}`
    if (key.state === 'cold') {
      this.#cold.set(what, came)
      return
    }
    const counted = Object.entries(came).filter(([name]) => !FORGETS.includes(name))
    const sum = counted.reduce((sum, [, count]) => sum + count, 0)
    const worst = this.warm.get(key.operation)
    if (worst !== undefined && sum <= worst) return
    this.warm.set(key.operation, sum)
    this.#warm.set(what, came)
  }

  /** Cold: of the last pass. Warm: of the worst. */
  facts(): Fact[] {
    const lines = (map: Map<string, Requests>, state: string) =>
      [...map].map(
        ([what, requests]): Fact => ({ what: `${what}: messages, ${state}`, unit: 'text', value: show(requests) }),
      )
    return [...lines(this.#cold, 'cold'), ...lines(this.#warm, 'warm')]
  }
}

function show(requests: Requests): string {
  const entries = Object.entries(requests).sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.length === 0 ? 'none' : entries.map(([name, count]) => `${name} ${count}`).join(', ')
}
