import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { buildReaders } from '../test/helpers/probe.ts'
import { Readers, type Seen } from '../test/helpers/readers.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { Disturbed } from './disturbed.ts'
import { KERNEL, mountWith } from './drivers.ts'
import { failureFact } from './failure.ts'
import { describeMachine, endLoad } from './machine.ts'
import { addPath } from './ours.ts'
import { withScope } from './scope.ts'
import { Seeded } from './seeded.ts'
import { median } from './statistics.ts'
import { makeHeaders, makeLargeFile } from './trees.ts'
import type { Fact, Goal, Measurement, Suite, SuiteOptions, SuiteResult } from './types.ts'

const SEED = 'failover 1'
const FILES = 2000
const LARGE_MIB = 64
const READERS = 16
/** For each upgrade, and for each kill without a standby, so many kills with one. */
const KILLS_FOR_ONE = 10

/** Bounds of the design, in seconds. */
const MAX_PAUSE = 0.1
const MAX_PAUSE_ALONE = 0.5

const CALM = 'undisturbed'
const OPERATION = `longest call of ${READERS} readers`

/** One way to disturb a mount, again and again. */
interface Part {
  name: string
  times: number
  args: string[]
  maxPause: number
  disturb(disturbed: Disturbed): Promise<void>
}

/** Kills and replaces the server of a mount under readers, who must not notice but for a pause. A round is a kill. */
export const failoverSuite: Suite = { name: 'failover', rounds: 200, run }

async function run({ scope, rounds = failoverSuite.rounds, say }: SuiteOptions): Promise<SuiteResult> {
  const work = tempFolder(scope, 'bench-failover')
  const machine = await describeMachine(work, {})
  const time = new Date().toISOString()
  const tree = join(work, 'tree')
  mkdirSync(tree)
  const small = makeHeaders(join(tree, 'small'), `${SEED} small`, FILES)
  makeLargeFile(join(tree, 'large'), `${SEED} large`, LARGE_MIB)
  const program = await buildReaders(work)
  const state = join(work, 'state')
  const { path } = await addPath(state, tree)
  const measurements: Measurement[] = []
  const facts: Fact[] = []
  const goals: Goal[] = []
  for (const part of parts(rounds)) {
    say(`failover: ${part.name}, ${part.times} times`)
    const done = await disturbAll(part, { state, tree, program, baseName: basename(path) })
    if (done instanceof Error) facts.push(failureFact(`${part.name}: cut short`, done))
    const seen = done instanceof Error ? undefined : done
    if (seen !== undefined) {
      if (measurements.length === 0) measurements.push(measurementOf(CALM, seen.calm))
      measurements.push(measurementOf(part.name, seen.stirred))
      facts.push(...factsOf(part, seen))
    }
    goals.push(...goalsOf(part, seen))
  }
  endLoad(machine)
  return {
    suite: failoverSuite.name,
    title: `Failover: the kernel driver's server is killed and replaced under ${READERS} readers`,
    time,
    machine,
    input: {
      seed: SEED,
      readers: READERS,
      'small files': small.files,
      'bytes of the small files': small.bytes,
      'bytes of the large file': LARGE_MIB * 2 ** 20,
    },
    baseline: CALM,
    measurements,
    facts,
    goals,
  }
}

function parts(kills: number): Part[] {
  const fewer = Math.ceil(kills / KILLS_FOR_ONE)
  return [
    {
      name: 'kill -9',
      times: kills,
      args: [],
      maxPause: MAX_PAUSE,
      disturb: disturbed => disturbed.kill({ standby: true }),
    },
    { name: 'upgrade', times: fewer, args: [], maxPause: MAX_PAUSE, disturb: disturbed => disturbed.upgrade() },
    {
      name: 'kill -9 without a standby',
      times: fewer,
      args: ['--no-standby'],
      maxPause: MAX_PAUSE_ALONE,
      disturb: disturbed => disturbed.kill({ standby: false }),
    },
  ]
}

interface Place {
  state: string
  tree: string
  program: string
  baseName: string
}

/** Mounts and disturbs; an Error says what kept it from coming to an end. */
async function disturbAll(part: Part, { state, tree, program, baseName }: Place): Promise<Disturbed | Error> {
  let times = 0
  let complaints = ''
  try {
    return await withScope(async scope => {
      const { folder } = await mountWith(scope, KERNEL, { state, args: part.args })
      const mounted = join(folder, baseName)
      const readers = new Readers(scope, { program, threads: READERS, originals: tree, mounted })
      const disturbed = new Disturbed(folder, readers, new Seeded(`${SEED} ${part.name}`))
      try {
        for (; times < part.times; times++) await part.disturb(disturbed)
      } finally {
        complaints = readers.complaints()
      }
      return disturbed
    })
  } catch (error) {
    return new Error(`after ${times} of ${part.times}: ${(error as Error).message} ${complaints}`, { cause: error })
  }
}

function measurementOf(subject: string, seen: readonly Seen[]): Measurement {
  const rounds = seen.map(({ longest }) => ({ seconds: longest }))
  return { operation: OPERATION, subject, amount: 1, unit: 'seconds', rounds }
}

function factsOf({ name }: Part, { all, calm, stirred }: Disturbed): Fact[] {
  const worst = stirred.reduce((worst, seen) => (seen.longest > worst.longest ? seen : worst))
  return [
    { what: `${name}: calls of the readers`, unit: 'count', value: all.operations },
    { what: `${name}: read`, unit: 'bytes', value: all.bytes },
    { what: `${name}: the call of the worst pause`, unit: 'text', value: worst.call },
    { what: `${name}: longest call, undisturbed`, unit: 'seconds', value: worstOf(calm) },
    { what: `${name}: middle call, undisturbed`, unit: 'seconds', value: median(calm.map(({ median }) => median)) },
  ]
}

function goalsOf({ name, times, maxPause }: Part, seen: Disturbed | undefined): Goal[] {
  const what = `${name}, ${times} times`
  return [
    { what: `${what}: calls that failed`, unit: 'count', value: seen?.all.failures, limit: 0 },
    { what: `${what}: wrong bytes`, unit: 'count', value: seen?.all.wrong, limit: 0 },
    { what: `${what}: worst pause`, unit: 'seconds', value: seen && worstOf(seen.stirred), limit: maxPause },
  ]
}

function worstOf(seen: readonly Seen[]): number {
  return Math.max(...seen.map(({ longest }) => longest))
}
