import { closeSync, openSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { currentOwner, ownerLives, type ProcessIdentity } from '../blocks/owner.ts'
import { StateError, systemCode } from '../errors.ts'

/**
 * One repair of a state at a time. Each has an empty file of its own in the state folder that says in its name who it
 * is: `repair.<pid>.<start time>.<boot id>`. Whoever finds another one that lives after it has made its own gives way,
 * so that of two at least one does; and a file whose process is gone, killed perhaps, means nothing.
 */
const PREFIX = 'repair.'

/** Of two that come at once the first by name stays, and looks again until the other has given way. */
const ATTEMPTS = 20
/** Milliseconds. */
const PAUSE = 50

/** Runs `repair` while no other repair of this state is at work. Throws StateError where one is. */
export async function withRepairLock<T>(folder: string, repair: () => Promise<T>): Promise<T> {
  const own = nameOf(currentOwner())
  const file = join(folder, own)
  try {
    closeSync(openSync(file, 'w'))
  } catch (cause) {
    throw new StateError(`${folder}: cannot be written (${systemCode(cause)})`, { cause })
  }
  try {
    await waitForOthers(folder, own)
    return await repair()
  } finally {
    rmSync(file, { force: true })
  }
}

async function waitForOthers(folder: string, own: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const others = livingIn(folder).filter(name => name !== own)
    const [other] = others
    if (other === undefined) return
    if (attempt === ATTEMPTS || others.some(name => name < own))
      throw new StateError(
        `${folder}: process ${ownerOf(other)?.pid} is repairing this state; run it again when that has ended`,
      )
    await sleep(PAUSE)
  }
}

/** The names of those that live; what the others have left is removed. */
function livingIn(folder: string): string[] {
  return readdirSync(folder).filter(name => {
    const owner = ownerOf(name)
    if (owner === undefined) return false
    const lives = ownerLives(owner)
    if (!lives) rmSync(join(folder, name), { force: true })
    return lives
  })
}

function nameOf({ pid, startTime, bootId }: ProcessIdentity): string {
  return `${PREFIX}${pid}.${startTime}.${bootId}`
}

function ownerOf(name: string): ProcessIdentity | undefined {
  const match = /^repair\.([0-9]+)\.([0-9]+)\.([0-9a-f-]+)$/.exec(name)
  return match ? { pid: Number(match[1]), startTime: match[2]!, bootId: match[3]! } : undefined
}
