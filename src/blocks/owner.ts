import { readFileSync } from 'node:fs'
import { systemCode } from '../errors.ts'

/** One process, so that it is never taken for a later one of the same number. */
export interface ProcessIdentity {
  pid: number
  /** Field 22 of /proc/<pid>/stat: clock ticks after boot. */
  startTime: string
  /** /proc/sys/kernel/random/boot_id */
  bootId: string
}

/** Who appends to the packs that this process creates. */
export function currentOwner(): ProcessIdentity {
  const startTime = startTimeOf(process.pid)
  if (startTime === undefined) throw new Error('/proc/self/stat has no start time')
  return { pid: process.pid, startTime, bootId: bootId() }
}

/** True while the process that created a pack may append to it. */
export function ownerLives({ pid, startTime, bootId: boot }: ProcessIdentity): boolean {
  return boot === bootId() && startTimeOf(pid) === startTime
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
}

/** proc(5): the command, the second field, is in parentheses and may hold anything, also spaces and parentheses. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ESRCH') return undefined
    throw error
  }
}
