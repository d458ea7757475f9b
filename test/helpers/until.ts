import { setTimeout } from 'node:timers/promises'

const INTERVAL_MS = 50

/**
 * Asks again and again until the answer is neither undefined nor false, and gives it. An Error that says `what` if
 * that takes longer than `patience` milliseconds; the limit is there to end a test that fails, so it is generous.
 */
export async function until<T>(
  what: string,
  ask: () => T | Promise<T>,
  patience = 30_000,
): Promise<Exclude<T, undefined | false>> {
  const deadline = Date.now() + patience
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer as Exclude<T, undefined | false>
    if (Date.now() > deadline) throw new Error(`not after ${patience} ms: ${what}`)
    await setTimeout(INTERVAL_MS)
  }
}
