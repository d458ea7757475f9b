import { join } from 'node:path'
import { kuboBinary } from '../test/helpers/kubo.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { describeMachine, endLoad, versionOf } from './machine.ts'
import { Micro, rotated } from './measure.ts'
import { messageGoals, readGoals } from './read-goals.ts'
import { FILE_BYTES, FILES, HEADERS, LARGE_MIB, makeSample, operations } from './read-operations.ts'
import { makeSubjects, NATIVE, type Trees } from './read-subjects.ts'
import { COLD_PASSES, Reading, WARM_PASSES } from './reading.ts'
import { makeHeaders, makeReadTree } from './trees.ts'
import type { Suite, SuiteOptions, SuiteResult } from './types.ts'

const SEED = 'read 2'

/** Reads files on the disk, and the same files through mounts: cold and warm. */
export const readSuite: Suite = { name: 'read', rounds: 5, run }

async function run({ scope, rounds = readSuite.rounds, say }: SuiteOptions): Promise<SuiteResult> {
  const work = tempFolder(scope, 'bench-read')
  const machine = await describeMachine(work, {
    kubo: await versionOf(kuboBinary(), 'version'),
    squashfuse: await versionOf('squashfuse_ll', '--help'),
  })
  const time = new Date().toISOString()
  const trees: Trees = { files: join(work, 'files'), headers: join(work, 'headers') }
  makeReadTree(trees.files, `${SEED} files`, FILES, FILE_BYTES, LARGE_MIB)
  const headers = makeHeaders(trees.headers, `${SEED} headers`, HEADERS)
  say('read: puts the trees into every store')
  const subjects = await makeSubjects(scope, work, trees)
  const sample = join(work, 'sample')
  makeSample(sample)
  const reading = new Reading(await Micro.compile(work), sample, trees)
  for (const subject of subjects) await reading.compare(subject)
  for (let round = 0; round < rounds; round++) {
    say(`read: round ${round + 1} of ${rounds}`)
    for (const operation of operations) {
      for (const subject of rotated(subjects, round)) await reading.measure(operation, subject)
    }
  }
  endLoad(machine)
  const fuseRows = subjects.map(({ name }) => name).filter(name => name !== NATIVE)
  const measurements = reading.measurements(subjects)
  return {
    suite: readSuite.name,
    title: 'Reading: files on the disk, and the same files through mounts',
    time,
    machine,
    input: {
      seed: SEED,
      files: FILES,
      'bytes of a file': FILE_BYTES,
      'bytes of the large file': LARGE_MIB * 2 ** 20,
      'small files of find, grep and tar': headers.files,
      'bytes of these': headers.bytes,
      'cold passes, of which the median counts': COLD_PASSES,
      'warm passes, of which the median counts': WARM_PASSES,
      'squashfs image': 'not compressed',
    },
    baseline: NATIVE,
    measurements,
    facts: reading.facts(),
    goals: [...readGoals(measurements, fuseRows), ...messageGoals(reading.messages.warm)],
  }
}
