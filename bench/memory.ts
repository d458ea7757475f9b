import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import type { TestScope } from '../test/helpers/cleanup.ts'
import { mountStatus } from '../test/helpers/control.ts'
import { standbyOf } from '../test/helpers/failover.ts'
import type { Mount } from '../test/helpers/mount.ts'
import { Readers, type ReadersOptions, type Seen } from '../test/helpers/readers.ts'
import { type DriverName, KERNEL } from './drivers.ts'

const SAMPLES = 100
const SAMPLE_MS = 200

/** The most anonymous memory that was seen, in bytes. */
export interface Memory {
  /** Of supervisor and active server together. */
  serving: number
  standby: number | undefined
  /** What the readers did meanwhile. */
  seen: Seen
}

/** Looks at a mount's processes while readers read. Throws an Error where one of them failed or saw a wrong byte. */
export async function memoryUnderReaders(
  scope: TestScope,
  mount: Mount,
  driver: DriverName,
  options: ReadersOptions,
): Promise<Memory> {
  const { serving, standby } =
    driver === KERNEL ? await supervised(mount.folder) : { serving: [mount.child.pid!], standby: [] }
  const readers = new Readers(scope, options)
  const most = { serving: 0, standby: 0 }
  for (let i = 0; i < SAMPLES; i++) {
    await setTimeout(SAMPLE_MS)
    most.serving = Math.max(most.serving, rssAnon(serving))
    most.standby = Math.max(most.standby, rssAnon(standby))
  }
  const seen = await readers.seen()
  if (seen.failures + seen.wrong > 0 || seen.operations === 0)
    throw new Error(`readers failed: ${readers.complaints()}`)
  return { serving: most.serving, standby: standby.length === 0 ? undefined : most.standby, seen }
}

/** Process ids once the standby is warm. */
async function supervised(mountpoint: string): Promise<{ serving: number[]; standby: number[] }> {
  const standby = await standbyOf(mountpoint)
  const { pid, supervisor } = await mountStatus(mountpoint)
  return { serving: [supervisor, pid], standby: [standby] }
}

function rssAnon(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const kilobytes = /^RssAnon:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    if (kilobytes === undefined) throw new Error(`process ${pid}: its memory is not to be seen`)
    return sum + Number(kilobytes) * 1024
  }, 0)
}
