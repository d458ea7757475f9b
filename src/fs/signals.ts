import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A terminal sends them to all that run in it. */
const typed = ['SIGINT', 'SIGQUIT'] as const
const sent = ['SIGTERM', 'SIGHUP'] as const

/**
 * Leaves the terminal to a child in our process group: what is typed there reaches it without us, and what is sent to
 * us alone is passed on. Returns what ends that.
 * @param passTyped whether to pass on also what a terminal may have sent to the child itself, for one that ends at it
 */
export function leaveSignalsTo(child: ChildProcess, { passTyped = false } = {}): () => void {
  const forward = (signal: NodeJS.Signals) => child.kill(signal)
  const onTyped = (signal: NodeJS.Signals) => {
    if (passTyped || !isInForeground()) forward(signal)
  }
  for (const signal of typed) process.on(signal, onTyped)
  for (const signal of sent) process.on(signal, forward)
  return () => {
    for (const signal of typed) process.off(signal, onTyped)
    for (const signal of sent) process.off(signal, forward)
  }
}

/** Whether what is typed at a terminal is sent to our process group now. */
function isInForeground(): boolean {
  // proc_pid_stat(5): after the name in parentheses come state, ppid, pgrp, session, tty_nr, tpgid.
  const stat = readFileSync('/proc/self/stat', 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[2] === fields[5]
}
