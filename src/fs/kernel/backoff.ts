/** Pauses before attempts that fail one after the other: none, then a first one, then doubled each time. */
export class Backoff {
  readonly #first: number
  readonly #doublings: number
  #failures = 0

  /** Milliseconds, and how often they double at most. */
  constructor(first: number, doublings: number) {
    this.#first = first
    this.#doublings = doublings
  }

  /** In a row, up to now. */
  get failures(): number {
    return this.#failures
  }

  /** Another one has failed: milliseconds until the next. */
  fail(): number {
    const before = this.#failures++
    return before === 0 ? 0 : this.#first * 2 ** Math.min(before - 1, this.#doublings)
  }

  /** One has not failed: the next follows at once. */
  succeed(): number {
    this.#failures = 0
    return 0
  }
}
