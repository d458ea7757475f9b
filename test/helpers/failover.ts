import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { TestScope } from './cleanup.ts'
import { mountStatus } from './control.ts'
import { type Mount, type MountOptions, mountStore } from './mount.ts'
import { noise, tempInMemory } from './mount-fixture.ts'
import { buildProbe, buildReaders } from './probe.ts'
import { Readers } from './readers.ts'
import { cli } from './run.ts'
import { reapersOf, serversOf } from './servers.ts'
import { tempFolder } from './temp.ts'
import { until } from './until.ts'

/** Small enough to lie in one block. */
const SMALL_FILES = 200
const LARGE_BYTES = 6 * 1024 * 1024
const READERS = 6

/** Entries of the tree's folder `many`, whose listing takes many messages. */
export const MANY_ENTRIES = 3000

/** A state with one path in it, and the programs that look at it through a mount. */
export interface FailoverFixture {
  readonly work: string
  readonly state: string
  /** What was added. */
  readonly tree: string
  readonly baseName: string
  readonly probe: string
  readonly readers: string
}

/** In memory, for as long as the scope lasts. */
export async function failoverFixture(scope: TestScope): Promise<FailoverFixture> {
  await tempInMemory(scope)
  const work = tempFolder(scope, 'failover')
  const tree = join(work, 'tree')
  for (const name of ['small', 'many']) mkdirSync(join(tree, name), { recursive: true })
  for (let i = 0; i < SMALL_FILES; i++) writeFileSync(join(tree, 'small', `${i}`), noise(i, 100 + 37 * i))
  for (let i = 0; i < MANY_ENTRIES; i++) writeFileSync(join(tree, 'many', `entry-${i}`), `${i}`)
  writeFileSync(join(tree, 'large'), noise(1, LARGE_BYTES))
  const state = join(work, 'state')
  const baseName = await addTo(state, tree)
  const [probe, readers] = await Promise.all([buildProbe(work), buildReaders(work)])
  return { work, state, tree, baseName, probe, readers }
}

/** Adds a folder or file; the base name of its path. */
export async function addTo(state: string, path: string): Promise<string> {
  const { code, stdout, stderr } = await cli(['add', path, '--state', state])
  assert.equal(code, 0, stderr)
  return basename(`${stdout}`.trim())
}

/** Mounts it by the kernel driver; once the second server waits, unless there is to be none. */
export async function mountByKernel(
  t: TestScope,
  { state, args = [], ...others }: MountOptions,
): Promise<Mount & { supervisor: number }> {
  const mount = await mountStore(t, { state, args: ['--driver', 'kernel', ...args], ...others })
  if (!args.includes('--no-standby')) await standbyOf(mount.folder)
  // Its parent may be a program that only starts it.
  return { ...mount, supervisor: (await mountStatus(mount.folder)).supervisor }
}

/** Waits for a second server that is ready, and gives its process id. */
export async function standbyOf(folder: string): Promise<number> {
  return await until(`${folder} has a standby`, async () => {
    const { standby, pid } = await mountStatus(folder)
    const others = serversAt(folder).filter(server => server !== pid)
    return standby && others.length === 1 ? others[0] : undefined
  })
}

/** Servers of the mount at this folder, that serves and that waits. */
export function serversAt(folder: string): number[] {
  return serversOf('fuse-server').filter(pid => commandLine(pid).includes(`"mountpoint":${JSON.stringify(folder)}`))
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

/** Waits until a server other than this one answers. */
export async function takenOver(folder: string, before: number): Promise<number> {
  return await until('another server answers', async () => {
    const { pid } = await mountStatus(folder)
    return pid === before ? undefined : pid
  })
}

/** Nothing of the mount is left: no process, and nothing mounted. */
export async function assertAllGone(folder: string): Promise<void> {
  await until('all of its processes end', () => [...serversAt(folder), ...reapersOf(folder)].length === 0)
  assert.equal(mountLine(folder), undefined)
}

/** Its line of mountinfo. */
export function mountLine(folder: string): string | undefined {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find(line => line.split(' ')[4] === folder)
}

/**
 * Does something to a mount while readers hold every byte of it against the original: they must see no error and no
 * wrong byte, and the mount must stay the same.
 */
export async function unnoticed(
  t: TestScope,
  { readers, tree, baseName }: FailoverFixture,
  { folder }: Mount,
  disturb: () => Promise<void>,
): Promise<void> {
  const before = mountLine(folder)
  assert.ok(before !== undefined, `${folder} is mounted`)
  const reading = new Readers(t, {
    program: readers,
    threads: READERS,
    originals: tree,
    mounted: join(folder, baseName),
  })
  const goOn = () => until('readers read', async () => (await look()).operations > 100)
  const look = async () => {
    const seen = await reading.seen()
    assert.deepEqual({ failures: seen.failures, wrong: seen.wrong }, { failures: 0, wrong: 0 }, reading.complaints())
    return seen
  }
  await goOn()
  await disturb()
  await look()
  await goOn()
  assert.equal(mountLine(folder), before)
}
