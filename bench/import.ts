import { createHash } from 'node:crypto'
import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, readSync } from 'node:fs'
import { basename, join } from 'node:path'
import { kuboBinary, kuboRepo } from '../test/helpers/kubo.ts'
import { cleanSettings, output } from '../test/helpers/run.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { describeMachine, endLoad, versionOf } from './machine.ts'
import { Micro, rotated, settle, type Timed } from './measure.ts'
import { addArguments, parseAdded, verifyState } from './ours.ts'
import { type Scope, withScope } from './scope.ts'
import { find, ratioOf } from './statistics.ts'
import { type Input, makeHeaders, makeLargeFile } from './trees.ts'
import type { Fact, Goal, Measurement, Suite, SuiteOptions, SuiteResult } from './types.ts'

const SEED = 'import 1'
const FILES = 8000
const LARGE_MIB = 1024
const CHUNK_BYTES = 2 ** 20

const NIX = 'nix-store --add; sync'
const KUBO = 'ipfs add -r; sync'
const OURS = 'nix-ipfs-mount add'

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

/** What one subject has made of an input. */
interface Imported {
  seconds: number
  parts: Record<string, number>
  /** What must be equal: narHash for Nix, the tree's CID for Kubo. */
  narHash?: string
  root?: string
  /** Taken on the disk. */
  bytes: number
}

interface Subject {
  name: string
  /** Imports into a store of its own, in a new folder below `folder`. */
  run(micro: Micro, input: Input, scope: Scope): Promise<Imported>
}

const subjects: Subject[] = [
  { name: NIX, run: runNix },
  { name: KUBO, run: runKubo },
  { name: OURS, run: runOurs },
]

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
    measurements.push(...entered)
    say(`import: ${job.name}: memory`)
    const memory = await memoryOf(job.input, micro)
    goals.push({ what: `${job.name}: RssAnon at most`, unit: 'bytes', value: memory, limit: MAX_MEMORY })
    const ours = find(entered, job.name, OURS)
    goals.push({
      what: `${job.name}: time against Nix`,
      unit: 'ratio',
      value: ratioOf(ours, find(entered, job.name, NIX)),
      limit: 1,
    })
    if (job.input === small) {
      goals.push({
        what: `${job.name}: time against Kubo`,
        unit: 'ratio',
        value: ratioOf(ours, find(entered, job.name, KUBO)),
        limit: 1 / MIN_KUBO_RATIO,
      })
    }
    const contents = uniqueBytes(job.input.path)
    for (const [subject, bytes] of taken)
      facts.push({ what: `${job.name}: on the disk, ${subject}`, unit: 'bytes', value: bytes })
    facts.push({ what: `${job.name}: contents, equal chunks once`, unit: 'bytes', value: contents })
    if (job.input.files > 1) {
      const beyond = (taken.get(OURS)! - contents) / job.input.entries
      facts.push({ what: `${job.name}: beyond the contents, ${OURS}`, unit: 'bytes an entry', value: beyond })
    }
    goals.push({
      what: `${job.name}: packs and index`,
      unit: 'bytes',
      value: taken.get(OURS)!,
      limit: SPACE_FACTOR * contents + SPACE_AN_ENTRY * job.input.entries,
    })
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
  const entered = subjects.map(
    (subject): Measurement => ({ operation: name, subject: subject.name, amount: 1, unit: 'seconds', rounds: [] }),
  )
  /** Bytes on the disk, of the last round. */
  const taken = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    say(`import: ${name}: round ${round + 1} of ${rounds}`)
    const made: Imported[] = []
    for (const subject of rotated(subjects, round)) {
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

async function runNix(micro: Micro, input: Input, scope: Scope): Promise<Imported> {
  const folder = tempFolder(scope, 'bench-nix')
  mkdirSync(join(folder, 'etc'))
  // Nothing of the machine's own configuration or daemon.
  const env = { NIX_CONF_DIR: join(folder, 'etc'), NIX_USER_CONF_FILES: '/dev/null', NIX_REMOTE: '', NIX_PATH: '' }
  const store = ['--store', join(folder, 'root')]
  // Makes its database, as the other stores are made, too.
  await output('nix-store', [...store, '--verify'], { env })
  await settle()
  const add = await micro.run('nix-store', [...store, '--add', input.path], env)
  const sync = await syncOf(micro, folder)
  const path = add.stdout.trim()
  const narHash = (await output('nix-store', [...store, '--query', '--hash', path], { env })).toString().trim()
  return { ...timesOf(add, sync, true), narHash, bytes: diskBytes(join(folder, 'root')) }
}

async function runKubo(micro: Micro, input: Input, scope: Scope): Promise<Imported> {
  const { repo } = await kuboRepo(scope)
  await settle()
  const env = { IPFS_PATH: repo, IPFS_TELEMETRY: 'off' }
  const options = ['--offline', '--recursive', '--hidden', '--quieter', '--progress=false']
  const add = await micro.run(kuboBinary(), ['add', ...options, input.path], env)
  const sync = await syncOf(micro, repo)
  return { ...timesOf(add, sync, true), root: add.stdout.trim(), bytes: diskBytes(repo) }
}

async function runOurs(micro: Micro, input: Input, scope: Scope): Promise<Imported> {
  const folder = tempFolder(scope, 'bench-ours')
  const state = join(folder, 'state')
  const add = await micro.run(process.execPath, addArguments(state, input.path), cleanSettings())
  // Only to see that nothing was left: it does not count.
  const sync = await syncOf(micro, folder)
  const { path, narHash, root } = parseAdded(add.stdout)
  if (!basename(path).endsWith(`-${basename(input.path)}`)) throw new Error(`${path}: has another name`)
  const bytes = diskBytes(join(state, 'packs')) + diskBytes(join(state, 'index'))
  await verifyState(state)
  return { ...timesOf(add, sync, false), narHash, root, bytes }
}

function timesOf(add: Timed, sync: Timed, syncCounts: boolean): Pick<Imported, 'seconds' | 'parts'> {
  return {
    seconds: add.wall + (syncCounts ? sync.wall : 0),
    parts: { add: add.wall, user: add.user, system: add.system, sync: sync.wall },
  }
}

/** Waits until everything in the file system of the folder is on the disk. */
function syncOf(micro: Micro, folder: string): Promise<Timed> {
  return micro.run('sync', ['-f', folder])
}

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

/** What the files and folders take on the disk. */
function diskBytes(path: string): number {
  const { blocks } = lstatSync(path)
  const below = lstatSync(path).isDirectory() ? readdirSync(path) : []
  return below.reduce((sum, name) => sum + diskBytes(join(path, name)), blocks * 512)
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
