import type { ChildProcess } from 'node:child_process'

/** A terminal sends them to all that run in it. */
const typed = ['SIGINT', 'SIGQUIT'] as const
const sent = ['SIGTERM', 'SIGHUP'] as const

/**
 * Leaves the terminal to a child: what is typed there is its own, and what is sent to us is passed on. Returns what
 * ends that.
 * @param passTyped whether to pass on also what a terminal may have sent to the child itself, for one that ends at it
 */
export function leaveSignalsTo(child: ChildProcess, { passTyped = false } = {}): () => void {
  const forward = (signal: NodeJS.Signals) => child.kill(signal)
  const onTyped = passTyped ? forward : ignore
  for (const signal of typed) process.on(signal, onTyped)
  for (const signal of sent) process.on(signal, forward)
  return () => {
    for (const signal of typed) process.off(signal, onTyped)
    for (const signal of sent) process.off(signal, forward)
  }
}

function ignore(): void {}
