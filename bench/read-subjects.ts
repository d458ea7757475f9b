import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { TestScope } from '../test/helpers/cleanup.ts'
import { mountStatus } from '../test/helpers/control.ts'
import { standbyOf } from '../test/helpers/failover.ts'
import { type KuboRepo, kuboRepo, startDaemon } from '../test/helpers/kubo.ts'
import { output, stopProcess } from '../test/helpers/run.ts'
import { isMounted, tempFolder, unmountLazily } from '../test/helpers/temp.ts'
import { until } from '../test/helpers/until.ts'
import { DRIVERS, type DriverName, KERNEL, mountWith } from './drivers.ts'
import { addPath } from './ours.ts'
import { Scope } from './scope.ts'

export const NATIVE = 'native'
export const SQUASHFUSE = 'squashfuse_ll'
export const KUBO = 'ipfs mount'
export const mountName = (driver: DriverName) => `mount (${driver})`

/** The trees by their names, each as a folder. */
export type Trees = Record<'files' | 'headers', string>

/** Something that shows the trees. */
export interface Subject {
  name: string
  /** Starts it anew, so that its own caches are empty. */
  open(): Promise<OpenSubject>
}

interface Shown {
  trees: Trees
  /** FUSE requests so far, by name; undefined where nobody counts them. */
  messages?: () => Promise<Record<string, number>>
  /** Resolves when the start is over, also in the background. */
  settled?: () => Promise<unknown>
}

export interface OpenSubject extends Shown {
  close(): Promise<void>
}

/**
 * Puts the trees into every store below `work`. Files on the disk come first; what cannot be made ready, or started,
 * says so when it is opened.
 */
export async function makeSubjects(scope: TestScope, work: string, trees: Trees): Promise<Subject[]> {
  const state = join(work, 'state')
  const paths = await eachTree(trees, async tree => basename((await addPath(state, tree)).path))
  return [
    { name: NATIVE, open: async () => ({ trees, close: async () => {} }) },
    ...DRIVERS.map((driver): Subject => ({ name: mountName(driver), open: () => openOurs(driver, state, paths) })),
    { name: SQUASHFUSE, open: await ready(squashfuse(work, trees)) },
    { name: KUBO, open: await ready(kuboMount(scope, trees)) },
  ]
}

/** Whoever cannot be made ready fails when it is opened. */
async function ready(made: Promise<Subject['open']>): Promise<Subject['open']> {
  return made.catch((error: Error) => () => Promise.reject(error))
}

function openOurs(driver: DriverName, state: string, baseNames: Trees): Promise<OpenSubject> {
  return opened(async scope => {
    const { folder } = await mountWith(scope, driver, { state })
    const shown = { trees: below(folder, baseNames) }
    if (driver !== KERNEL) return shown
    return { ...shown, messages: async () => (await mountStatus(folder)).requests, settled: () => standbyOf(folder) }
  })
}

/** An image that is not compressed, as our blocks are not. */
async function squashfuse(work: string, trees: Trees): Promise<Subject['open']> {
  const image = join(work, 'image.squashfs')
  const plain = ['-noI', '-noD', '-noF', '-noX', '-no-xattrs', '-no-progress', '-quiet']
  await output('mksquashfs', [trees.files, trees.headers, image, ...plain], { timeout: 600_000 })
  return () =>
    opened(async scope => {
      const mountpoint = tempFolder(scope, 'squashfuse')
      const args = ['--pdeathsig', 'TERM', 'squashfuse_ll', '-f', image, mountpoint]
      const server = spawn('setpriv', args, { stdio: 'ignore' })
      scope.after(async () => {
        await stopProcess(server)
        if (isMounted(mountpoint)) unmountLazily(mountpoint)
      })
      await until('squashfuse_ll mounts', () => {
        if (server.exitCode !== null) throw new Error(`squashfuse_ll ended with status ${server.exitCode}`)
        return isMounted(mountpoint)
      })
      return { trees: below(mountpoint, { files: basename(trees.files), headers: basename(trees.headers) }) }
    })
}

/** A daemon on the loopback interface without peers, whose tree is named by its CID. */
async function kuboMount(scope: TestScope, trees: Trees): Promise<Subject['open']> {
  const repo = await kuboRepo(scope)
  const options = ['--offline', '--recursive', '--hidden', '--quieter', '--progress=false']
  const cids = await eachTree(trees, async tree =>
    repo
      .ipfs(['add', ...options, tree])
      .toString()
      .trim(),
  )
  return () => opened(mounting => mountDaemon(mounting, repo, cids))
}

async function mountDaemon(scope: Scope, repo: KuboRepo, cids: Trees): Promise<Shown> {
  const folder = tempFolder(scope, 'kubo-mount')
  const { ipfs } = await startDaemon(scope, repo)
  const flags = { ipfs: '-f', ipns: '-n', mfs: '-m' }
  for (const name of Object.keys(flags)) mkdirSync(join(folder, name))
  ipfs(['mount', ...Object.entries(flags).flatMap(([name, flag]) => [flag, join(folder, name)])])
  return { trees: below(join(folder, 'ipfs'), cids) }
}

/** What `start` has begun in the scope ends with `close`, and also where `start` fails. */
async function opened(start: (scope: Scope) => Promise<Shown>): Promise<OpenSubject> {
  const scope = new Scope()
  try {
    return { ...(await start(scope)), close: () => scope.close() }
  } catch (error) {
    await scope.close()
    throw error
  }
}

async function eachTree(trees: Trees, give: (tree: string) => Promise<string>): Promise<Trees> {
  return { files: await give(trees.files), headers: await give(trees.headers) }
}

function below(folder: string, { files, headers }: Trees): Trees {
  return { files: join(folder, files), headers: join(folder, headers) }
}
