import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type Mount, mountStore } from '../test/helpers/mount.ts'
import { output } from '../test/helpers/run.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { describeMachine, endLoad } from './machine.ts'
import { dropCaches, Micro, rotated } from './measure.ts'
import { addPath } from './ours.ts'
import { Scope } from './scope.ts'
import { makeReadTree } from './trees.ts'
import type { Measurement, Suite, SuiteOptions, SuiteResult, Unit } from './types.ts'

const SEED = 'read 1'
const FILES = 2000
const FILE_BYTES = 4096
const LARGE_MIB = 64
const LARGE_BYTES = LARGE_MIB * 2 ** 20

const NATIVE = 'native'

/** Every way to mount: the driver's name. */
const DRIVERS = ['libfuse']

interface Operation {
  name: string
  amount: number
  unit: Unit
  /** Seconds of the first pass over files that nobody has looked at, and of a second one. */
  passes(micro: Micro, folder: string): Promise<[number, number]>
}

const operations: Operation[] = [
  {
    name: 'stat',
    amount: FILES,
    unit: 'microseconds each',
    passes: (micro, folder) => micro.passes('stat', join(folder, 'd'), FILES, FILE_BYTES),
  },
  {
    name: 'open + read 4 KiB',
    amount: FILES,
    unit: 'microseconds each',
    passes: (micro, folder) => micro.passes('open-read', join(folder, 'd'), FILES, FILE_BYTES),
  },
  {
    name: `sequential ${LARGE_MIB} MiB`,
    amount: LARGE_BYTES,
    unit: 'MB/s',
    passes: (micro, folder) => micro.passes('sequential', join(folder, 'big'), LARGE_BYTES),
  },
  {
    name: `ls -l of ${FILES}`,
    amount: 1,
    unit: 'seconds',
    passes: async (micro, folder) => [await list(micro, folder), await list(micro, folder)],
  },
]

/** Reads files on the disk, and the same files through the mount: cold and warm. */
export const readSuite: Suite = { name: 'read', rounds: 5, run }

async function run({ scope, rounds = readSuite.rounds, say }: SuiteOptions): Promise<SuiteResult> {
  const work = tempFolder(scope, 'bench-read')
  const machine = await describeMachine(work, {})
  const time = new Date().toISOString()
  const micro = await Micro.compile(work)
  const tree = makeReadTree(join(work, 'tree'), SEED, FILES, FILE_BYTES, LARGE_MIB)
  const { path } = await addPath(join(work, 'state'), tree.path)
  const subjects: Subject[] = [
    { name: NATIVE, open: async () => ({ folder: tree.path, close: async () => {} }) },
    ...DRIVERS.map(driver => mounted(driver, join(work, 'state'), basename(path))),
  ]
  for (const subject of subjects) await compare(subject, tree.path)
  const empty = join(work, 'empty')
  mkdirSync(empty)
  const measurements = new Map<string, Measurement>()
  for (let round = 0; round < rounds; round++) {
    say(`read: round ${round + 1} of ${rounds}`)
    for (const operation of operations) {
      for (const subject of rotated(subjects, round)) {
        const [cold, warm] = await measure(micro, operation, subject, empty)
        enter(measurements, operation, 'cold', subject.name, cold)
        enter(measurements, operation, 'warm', subject.name, warm)
      }
    }
  }
  endLoad(machine)
  return {
    suite: readSuite.name,
    title: 'Reading: files on the disk, and the same files through the mount',
    time,
    machine,
    input: { seed: SEED, files: FILES, 'bytes of a file': FILE_BYTES, 'bytes of the large file': LARGE_BYTES },
    baseline: NATIVE,
    measurements: [...measurements.values()],
    facts: [],
    goals: [],
  }
}

/** Something that shows the tree. */
interface Subject {
  name: string
  open(): Promise<{ folder: string; close(): Promise<void> }>
}

function mounted(driver: string, state: string, baseName: string): Subject {
  return {
    name: `mount (${driver})`,
    open: async () => {
      const scope = new Scope()
      const mount: Mount = await mountStore(scope, { state, args: ['--driver', driver] })
      return { folder: join(mount.folder, baseName), close: () => scope.close() }
    },
  }
}

/** Every name, type and byte must be the same, or else there is nothing to compare. */
async function compare(subject: Subject, tree: string): Promise<void> {
  const { folder, close } = await subject.open()
  try {
    await output('diff', ['-r', '--no-dereference', tree, folder])
  } finally {
    await close()
  }
}

/**
 * Starts the subject anew, so that its own caches are empty; then the kernel forgets everything, also what the start
 * has read. The measuring programs themselves are read again before the clock runs.
 */
async function measure(micro: Micro, operation: Operation, subject: Subject, empty: string): Promise<[number, number]> {
  await dropCaches()
  const { folder, close } = await subject.open()
  try {
    await dropCaches()
    await micro.passes('stat', empty, 0, 0)
    await micro.run('ls', ['-l', empty])
    return await operation.passes(micro, folder)
  } finally {
    await close()
  }
}

async function list(micro: Micro, folder: string): Promise<number> {
  const { wall, stdout } = await micro.run('ls', ['-l', join(folder, 'd')])
  // The first line is the total.
  if (stdout.trimEnd().split('\n').length !== FILES + 1) throw new Error(`ls -l has not listed ${FILES} files`)
  return wall
}

function enter(
  measurements: Map<string, Measurement>,
  { name, amount, unit }: Operation,
  state: 'cold' | 'warm',
  subject: string,
  seconds: number,
): void {
  const operation = `${name}, ${state}`
  const key = `${operation} ${subject}`
  const known = measurements.get(key) ?? { operation, subject, amount, unit, rounds: [] }
  known.rounds.push({ seconds })
  measurements.set(key, known)
}
