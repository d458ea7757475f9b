/** What a helper needs of a test: node:test's TestContext, or `{ after }` from node:test itself for a whole file. */
export interface TestScope {
  after(clean: () => unknown): void
}

const pending = new WeakMap<TestScope, (() => unknown)[]>()

/**
 * Runs `clean` after the test, whether it passed or not, and last in, first out: node:test runs its own `after` hooks
 * in the order of registration, which would remove a folder before the process that uses it has ended. A clean-up
 * that fails does not keep the others from running.
 */
export function onCleanup(t: TestScope, clean: () => unknown): void {
  const known = pending.get(t)
  if (known) {
    known.push(clean)
    return
  }
  const stack = [clean]
  pending.set(t, stack)
  t.after(async () => {
    const errors: unknown[] = []
    for (let next = stack.pop(); next; next = stack.pop()) {
      try {
        await next()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length === 1) throw errors[0]
    if (errors.length > 1) throw new AggregateError(errors, `${errors.length} clean-ups failed`)
  })
}
