import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { kuboBinary } from '../test/helpers/kubo.ts'
import { cleanSettings, output } from '../test/helpers/run.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { type Imported, importSubjects, KUBO, NIX, OURS } from './import-subjects.ts'
import { describeMachine, endLoad, versionOf } from './machine.ts'
import { Micro, rotated, settle } from './measure.ts'
import { addArguments } from './ours.ts'
import { withScope } from './scope.ts'
import { find, ratioOf } from './statistics.ts'
import { type Input, makeHeaders, makeLargeFile } from './trees.ts'
import type { Fact, Goal, Measurement, Suite, SuiteOptions, SuiteResult } from './types.ts'

const SEED = 'import 1'
const FILES = 8000
const LARGE_MIB = 1024
const CHUNK_BYTES = 2 ** 20

/** Bounds of the design, for memory, time and space. */
const MAX_MEMORY = 150 * 2 ** 20
const MIN_KUBO_RATIO = 3
const SPACE_FACTOR = 1.05
const SPACE_AN_ENTRY = 700

/** How often memory is looked at, in runs of their own: sampling takes time. */
const MEMORY_RUNS = 3

interface Job {
  name: string
  input: Input
  rounds: number
}

/** Adds files to an empty store until they are on the disk for good. */
export const importSuite: Suite = { name: 'import', rounds: 5, run }

async function run({ scope, rounds, say }: SuiteOptions): Promise<SuiteResult> {
  const work = tempFolder(scope, 'bench-import')
  const versions = { nix: await versionOf('nix-store', '--version'), kubo: await versionOf(kuboBinary(), 'version') }
  const machine = await describeMachine(work, versions)
  const time = new Date().toISOString()
  const micro = await Micro.compile(work)
  const large = makeLargeFile(join(work, 'large'), `${SEED} large`, LARGE_MIB)
  const small = makeHeaders(join(work, 'headers'), SEED, FILES)
  const jobs: Job[] = [
    { name: `${FILES} small files`, input: small, rounds: rounds ?? 5 },
    { name: `one file of ${LARGE_MIB / 1024} GiB`, input: large, rounds: rounds ?? 3 },
  ]
  const measurements: Measurement[] = []
  const facts: Fact[] = []
  const goals: Goal[] = []
  for (const job of jobs) {
    const { taken, entered } = await importAll(job, micro, say)
    say(`import: ${job.name}: memory`)
    const memory = await memoryOf(job.input, micro)
    const contents = uniqueBytes(job.input.path)
    measurements.push(...entered)
    facts.push(...factsOf(job, taken, contents))
    goals.push(...goalsOf(job, entered, memory, taken, contents))
  }
  endLoad(machine)
  return {
    suite: importSuite.name,
    title: 'Import into an empty store, until the data is on the disk for good',
    time,
    machine,
    input: {
      seed: SEED,
      'small files': small.files,
      'bytes of the small files': small.bytes,
      'files and folders': small.entries,
      'bytes of the large file': large.bytes,
    },
    baseline: NIX,
    measurements,
    facts,
    goals,
  }
}

/** All rounds of all subjects. */
async function importAll({ name, input, rounds }: Job, micro: Micro, say: SuiteOptions['say']) {
  const entered = importSubjects.map(
    (subject): Measurement => ({ operation: name, subject: subject.name, amount: 1, unit: 'seconds', rounds: [] }),
  )
  /** Bytes on the disk, of the last round. */
  const taken = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    say(`import: ${name}: round ${round + 1} of ${rounds}`)
    const made: Imported[] = []
    for (const subject of rotated(importSubjects, round)) {
      const result = await withScope(async scope => {
        // The input comes from memory for everybody, and nobody waits for what was written or removed before.
        await output('sh', ['-c', 'find "$0" -type f -exec cat {} + > /dev/null', input.path])
        await settle()
        return subject.run(micro, input, scope)
      })
      made.push(result)
      taken.set(subject.name, result.bytes)
      const { seconds, parts } = result
      entered.find(entry => entry.subject === subject.name)!.rounds.push({ seconds, parts })
    }
    for (const field of ['narHash', 'root'] as const) {
      const values = made.map(result => result[field]).filter(value => value !== undefined)
      if (values.length !== 2 || values[0] !== values[1])
        throw new Error(`${name}: ${field} differs: ${values.join(', ')}`)
    }
  }
  return { taken, entered }
}

/** `taken`: bytes on the disk by subject; `contents`: those of the files, equal chunks counted once. */
function factsOf({ name, input }: Job, taken: Map<string, number>, contents: number): Fact[] {
  const facts: Fact[] = [{ what: `${name}: contents, equal chunks once`, unit: 'bytes', value: contents }]
  for (const [subject, value] of taken) facts.push({ what: `${name}: on the disk, ${subject}`, unit: 'bytes', value })
  if (input.files === 1) return facts
  const value = (taken.get(OURS)! - contents) / input.entries
  return [...facts, { what: `${name}: beyond the contents, ${OURS}`, unit: 'bytes an entry', value }]
}

function goalsOf(
  { name, input }: Job,
  entered: readonly Measurement[],
  memory: number,
  taken: Map<string, number>,
  contents: number,
): Goal[] {
  const ratioTo = (subject: string) => ratioOf(find(entered, name, OURS), find(entered, name, subject))
  const space = SPACE_FACTOR * contents + SPACE_AN_ENTRY * input.entries
  const goals: Goal[] = [
    { what: `${name}: time, Nix = 1`, unit: 'ratio', value: ratioTo(NIX), limit: 1 },
    { what: `${name}: RssAnon`, unit: 'bytes', value: memory, limit: MAX_MEMORY },
    { what: `${name}: packs and index`, unit: 'bytes', value: taken.get(OURS)!, limit: space },
  ]
  if (input.files === 1) return goals
  return [...goals, { what: `${name}: time, Kubo = 1`, unit: 'ratio', value: ratioTo(KUBO), limit: 1 / MIN_KUBO_RATIO }]
}

/** The most anonymous memory that our program was seen with. */
async function memoryOf(input: Input, micro: Micro): Promise<number> {
  let most = 0
  for (let i = 0; i < MEMORY_RUNS; i++) {
    const bytes = await withScope(scope =>
      micro.memory(
        process.execPath,
        addArguments(join(tempFolder(scope, 'bench-memory'), 'state'), input.path),
        cleanSettings(),
      ),
    )
    most = Math.max(most, bytes)
  }
  return most
}

/** Bytes of the different chunks of all files, which is what any store that cuts files so must keep. */
function uniqueBytes(path: string, seen = new Set<string>()): number {
  if (lstatSync(path).isDirectory()) {
    return readdirSync(path).reduce((sum, name) => sum + uniqueBytes(join(path, name), seen), 0)
  }
  const buffer = Buffer.alloc(CHUNK_BYTES)
  const file = openSync(path, 'r')
  let sum = 0
  for (let at = 0; ; at += CHUNK_BYTES) {
    const length = readSync(file, buffer, 0, CHUNK_BYTES, at)
    if (length === 0) break
    const digest = createHash('sha256').update(buffer.subarray(0, length)).digest('base64')
    if (!seen.has(digest)) sum += length
    seen.add(digest)
  }
  closeSync(file)
  return sum
}
