import type { ChildProcess } from 'node:child_process'

/** A terminal sends them to all that run in it. */
const typed = ['SIGINT', 'SIGQUIT'] as const
const sent = ['SIGTERM', 'SIGHUP'] as const

/**
 * Leaves the terminal to a child: what is typed there is its own, and what is sent to us is passed on. Returns what
 * ends that.
 */
export function leaveSignalsTo(child: ChildProcess): () => void {
  const forward = (signal: NodeJS.Signals) => child.kill(signal)
  for (const signal of typed) process.on(signal, ignore)
  for (const signal of sent) process.on(signal, forward)
  return () => {
    for (const signal of typed) process.off(signal, ignore)
    for (const signal of sent) process.off(signal, forward)
  }
}

function ignore(): void {}
