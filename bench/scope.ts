import type { TestScope } from '../test/helpers/cleanup.ts'

const open = new Set<Scope>()

/** A part of a run, after which everything goes that the test helpers made in it. */
export class Scope implements TestScope {
  readonly #clean: (() => unknown)[] = []

  constructor() {
    open.add(this)
  }

  after(clean: () => unknown): void {
    this.#clean.push(clean)
  }

  async close(): Promise<void> {
    open.delete(this)
    for (let clean = this.#clean.pop(); clean !== undefined; clean = this.#clean.pop()) await clean()
  }
}

export async function withScope<T>(action: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = new Scope()
  try {
    return await action(scope)
  } finally {
    await scope.close()
  }
}

/** For a run that is cut short: the last one first. */
export async function closeAll(): Promise<void> {
  for (const scope of [...open].reverse()) await scope.close()
}
