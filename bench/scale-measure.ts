import { writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { output } from '../test/helpers/run.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { type DriverName, mountWith } from './drivers.ts'
import { addManyPaths } from './many-paths.ts'
import { dropCaches, type Micro } from './measure.ts'
import { type Memory, memoryUnderReaders } from './memory.ts'
import { addPath } from './ours.ts'
import { withScope } from './scope.ts'
import { Seeded } from './seeded.ts'

export const SEED = 'scale 1'
export const LOOKUPS = 1000
export const READERS = 32

export const START_COLD = 'start to mounted, cold'
export const START_WARM = 'start to mounted, warm'
export const LOOKUP_MEMORY = 'stat of a path, index in memory'
export const LOOKUP_DISK = 'stat of a path, index on the disk'

/** A state that knows so many paths, and one real tree besides. */
export interface Known {
  name: string
  state: string
  /** Random ones of the many, to be looked up. */
  baseNames: string[]
  /** Of the real tree. */
  baseName: string
}

/** The command line makes it, so that it belongs to whom it should. */
export async function makeState(work: string, tree: string, count: number): Promise<Known> {
  const state = join(work, `state-${count}`)
  const baseName = basename((await addPath(state, tree)).path)
  const names = await addManyPaths(state, SEED, count)
  const random = new Seeded(`${SEED} lookups`)
  for (let i = names.length - 1; i > 0; i--) {
    const j = random.below(i + 1)
    ;[names[i], names[j]] = [names[j]!, names[i]!]
  }
  return { name: `${count} paths`, state, baseNames: names.slice(0, LOOKUPS), baseName }
}

/** Seconds of each operation, every time with a new mount. */
export async function measureScale(
  driver: DriverName,
  known: Known,
  micro: Micro,
  work: string,
): Promise<[string, number][]> {
  const { state } = known
  // Cold: also the programs come from the disk, and their size is most of it.
  await dropCaches()
  const cold = await startSeconds(driver, state)
  const warm = await startSeconds(driver, state)
  const disk = await lookUp(driver, known, micro, work, dropCaches)
  const memory = await lookUp(driver, known, micro, work, async () => {
    await dropCaches()
    await output('cat', [join(state, 'index', 'data.mdb')])
  })
  return [
    [START_COLD, cold],
    [START_WARM, warm],
    [LOOKUP_DISK, disk],
    [LOOKUP_MEMORY, memory],
  ]
}

/** From the start of the program until it says that it is mounted. */
function startSeconds(driver: DriverName, state: string): Promise<number> {
  return withScope(async scope => {
    const mountpoint = tempFolder(scope, 'mount')
    const start = performance.now()
    await mountWith(scope, driver, { state, mountpoint })
    return (performance.now() - start) / 1000
  })
}

/** Names that the kernel has never seen, since the mount is new. */
function lookUp(
  driver: DriverName,
  { state, baseNames }: Known,
  micro: Micro,
  work: string,
  prepare: () => Promise<void>,
): Promise<number> {
  return withScope(async scope => {
    const { folder } = await mountWith(scope, driver, { state })
    const list = writeList(work, folder, baseNames)
    await prepare()
    await micro.passes('folders', 1, list, 0)
    const [seconds] = await micro.passes('folders', 1, list, baseNames.length)
    return seconds!
  })
}

export function memoryOf(
  driver: DriverName,
  known: Known,
  program: string,
  tree: string,
  work: string,
): Promise<Memory> {
  return withScope(async scope => {
    const mount = await mountWith(scope, driver, { state: known.state })
    const folders = writeList(work, mount.folder, known.baseNames)
    const mounted = join(mount.folder, known.baseName)
    return memoryUnderReaders(scope, mount, driver, { program, threads: READERS, originals: tree, mounted, folders })
  })
}

function writeList(work: string, folder: string, names: readonly string[]): string {
  const list = join(work, 'list')
  writeFileSync(list, names.map(name => `${join(folder, name)}\n`).join(''))
  return list
}
