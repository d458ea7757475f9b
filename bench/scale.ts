import { join } from 'node:path'
import { buildReaders } from '../test/helpers/probe.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { DRIVERS, type DriverName, KERNEL } from './drivers.ts'
import { failureFact } from './failure.ts'
import { describeMachine, endLoad } from './machine.ts'
import { Micro, rotated } from './measure.ts'
import type { Memory } from './memory.ts'
import {
  LOOKUP_DISK,
  LOOKUP_MEMORY,
  LOOKUPS,
  makeState,
  measureScale,
  memoryOf,
  READERS,
  SEED,
  START_WARM,
} from './scale-measure.ts'
import { find, medianSeconds, ratioOf } from './statistics.ts'
import { makeHeaders } from './trees.ts'
import type { Fact, Goal, Measurement, Suite, SuiteOptions, SuiteResult } from './types.ts'

const FEW = 1000
const MANY = 100_000
const FILES = 1000

/** Bounds of the design. */
const MAX_START_SECONDS = 0.5
const MAX_LOOKUP_RATIO = 1.2
const MAX_MEMORY = 160 * 2 ** 20

/** What a mount costs with many paths known, against few. */
export const scaleSuite: Suite = { name: 'scale', rounds: 5, run }

async function run({ scope, rounds = scaleSuite.rounds, say }: SuiteOptions): Promise<SuiteResult> {
  const work = tempFolder(scope, 'bench-scale')
  const machine = await describeMachine(work, {})
  const time = new Date().toISOString()
  const tree = join(work, 'tree')
  const headers = makeHeaders(tree, `${SEED} tree`, FILES)
  const micro = await Micro.compile(work)
  const readers = await buildReaders(work)
  say(`scale: makes states with ${FEW} and with ${MANY} paths`)
  const states = [await makeState(work, tree, FEW), await makeState(work, tree, MANY)]
  const many = states[1]!
  const measurements: Measurement[] = []
  const facts: Fact[] = []
  const memory = new Map<DriverName, Memory>()
  for (const driver of DRIVERS) {
    try {
      const entered: Measurement[] = []
      for (let round = 0; round < rounds; round++) {
        say(`scale: ${driver}: round ${round + 1} of ${rounds}`)
        for (const known of rotated(states, round)) {
          for (const [operation, seconds] of await measureScale(driver, known, micro, work)) {
            enter(entered, `${operation} (${driver})`, known.name, seconds)
          }
        }
      }
      measurements.push(...entered)
      say(`scale: ${driver}: memory under ${READERS} readers`)
      memory.set(driver, await memoryOf(driver, many, readers, tree, work))
    } catch (error) {
      facts.push(failureFact(`${driver}: cut short`, error))
    }
  }
  for (const [driver, found] of memory) facts.push(...memoryFacts(driver, found))
  endLoad(machine)
  return {
    suite: scaleSuite.name,
    title: `Scale: a mount with ${MANY} paths known against one with ${FEW}`,
    time,
    machine,
    input: {
      seed: SEED,
      'paths looked up': LOOKUPS,
      readers: READERS,
      'files that they read': headers.files,
      'bytes of these': headers.bytes,
    },
    baseline: states[0]!.name,
    measurements,
    facts,
    goals: goalsOf(measurements, memory.get(KERNEL), many.name),
  }
}

function enter(measurements: Measurement[], operation: string, subject: string, seconds: number): void {
  const known = measurements.find(entry => entry.operation === operation && entry.subject === subject)
  const start = operation.startsWith('start')
  if (known !== undefined) known.rounds.push({ seconds })
  else
    measurements.push({
      operation,
      subject,
      amount: start ? 1 : LOOKUPS,
      unit: start ? 'seconds' : 'microseconds each',
      rounds: [{ seconds }],
    })
}

function memoryFacts(driver: DriverName, { serving, standby, seen }: Memory): Fact[] {
  const what = `RssAnon with ${MANY} paths and ${READERS} readers (${driver})`
  const facts: Fact[] = [{ what: `${what}: supervisor and server`, unit: 'bytes', value: serving }]
  if (standby !== undefined) facts.push({ what: `${what}: standby`, unit: 'bytes', value: standby })
  return [...facts, { what: `${what}: calls of the readers meanwhile`, unit: 'count', value: seen.operations }]
}

function goalsOf(measurements: readonly Measurement[], memory: Memory | undefined, many: string): Goal[] {
  const of = (operation: string, subject: string) =>
    measurements.find(entry => entry.operation === `${operation} (${KERNEL})` && entry.subject === subject)
  const start = of(START_WARM, many)
  const ratio = (operation: string) => {
    const entry = of(operation, many)
    return entry && ratioOf(entry, find(measurements, entry.operation, `${FEW} paths`))
  }
  return [
    {
      what: `${START_WARM} (${KERNEL}), ${many}`,
      unit: 'seconds',
      value: start && medianSeconds(start.rounds),
      limit: MAX_START_SECONDS,
    },
    ...[LOOKUP_MEMORY, LOOKUP_DISK].map(
      (operation): Goal => ({
        what: `${operation} (${KERNEL}), ${FEW} paths = 1`,
        unit: 'ratio',
        value: ratio(operation),
        limit: MAX_LOOKUP_RATIO,
      }),
    ),
    { what: `RssAnon of supervisor and server (${KERNEL})`, unit: 'bytes', value: memory?.serving, limit: MAX_MEMORY },
  ]
}
