import { lstatSync, mkdirSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { kuboBinary, kuboRepo } from '../test/helpers/kubo.ts'
import { cleanSettings, output } from '../test/helpers/run.ts'
import { tempFolder } from '../test/helpers/temp.ts'
import { type Micro, settle, type Timed } from './measure.ts'
import { addArguments, parseAdded, verifyState } from './ours.ts'
import type { Scope } from './scope.ts'
import type { Input } from './trees.ts'

export const NIX = 'nix-store --add; sync'
export const KUBO = 'ipfs add -r; sync'
export const OURS = 'nix-ipfs-mount add'

/** What one subject has made of an input. */
export interface Imported {
  seconds: number
  parts: Record<string, number>
  /** What must be equal: narHash for Nix, the tree's CID for Kubo. */
  narHash?: string
  root?: string
  /** Taken on the disk. */
  bytes: number
}

export interface ImportSubject {
  name: string
  /** Imports into a store of its own, in a new folder below `folder`. */
  run(micro: Micro, input: Input, scope: Scope): Promise<Imported>
}

export const importSubjects: ImportSubject[] = [
  { name: NIX, run: runNix },
  { name: KUBO, run: runKubo },
  { name: OURS, run: runOurs },
]

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

/** What the files and folders take on the disk. */
function diskBytes(path: string): number {
  const { blocks } = lstatSync(path)
  const below = lstatSync(path).isDirectory() ? readdirSync(path) : []
  return below.reduce((sum, name) => sum + diskBytes(join(path, name)), blocks * 512)
}
