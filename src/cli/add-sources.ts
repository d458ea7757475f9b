import { createReadStream, lstatSync, readlinkSync, realpathSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { RefusedError, systemCode, UsageError } from '../errors.ts'
import { ourMountBelow } from '../fs/mountinfo.ts'
import { queryValidPaths, type ValidPath } from '../nix/local-store.ts'
import { fullPath, isBaseName, isValidName, STORE_DIR } from '../nix/store-path.ts'
import type { Ingest } from '../store/ingest.ts'

/** The arguments of `add` that say what. */
export interface WhatToAdd {
  path: string[]
  closure: boolean
  name: string | undefined
  nar: string | undefined
}

/** One path to add, ready to be read. */
export type Source = (ingest: Ingest) => Promise<void>

/** Looks at every argument before the first is read, so that a mistake in the last one adds nothing. */
export async function planSources({ path: paths, name, nar, closure }: WhatToAdd): Promise<Source[]> {
  if (nar !== undefined) {
    const input = nar === '-' ? process.stdin : createReadStream(nar, { highWaterMark: 1024 * 1024 })
    return [ingest => ingest.addNar(readable(input, nar), name!)]
  }
  const inStore = paths.map(path => (name === undefined ? storePathOf(path) : undefined))
  const baseNames = inStore.filter(baseName => baseName !== undefined)
  if (closure && baseNames.length < paths.length) throw new UsageError('--closure goes with store paths only')
  const found = baseNames.length > 0 ? await queryValidPaths(baseNames.map(fullPath), { closure }) : []
  const validSource = (valid: ValidPath): Source => {
    const folder = fullPath(valid.baseName)
    refuseOurOwn(folder)
    return ingest => ingest.addValidPath(valid, folder)
  }
  if (closure) return found.map(validSource)
  const byName = new Map(found.map(valid => [valid.baseName, valid]))
  return paths.map((path, i) => {
    const valid = byName.get(inStore[i] ?? '')
    return valid === undefined ? folderSource(path, name) : validSource(valid)
  })
}

/** The same chunks; an error of the stream says which input it was. */
async function* readable(input: AsyncIterable<Uint8Array>, shown: string): AsyncGenerator<Uint8Array> {
  const reader = input[Symbol.asyncIterator]()
  for (;;) {
    const next = await reader.next().catch(cause => {
      throw new RefusedError(`${shown}: cannot be read (${systemCode(cause)})`, { cause })
    })
    if (next.done === true) return
    yield next.value
  }
}

function folderSource(path: string, given: string | undefined): Source {
  const absolute = resolve(path)
  const name = given ?? basename(absolute)
  if (!isValidName(name))
    throw new UsageError(
      `${path}: ${JSON.stringify(name)} is not a store path's name (letters, digits and +-._?=, at most 211); give one with --name`,
    )
  try {
    lstatSync(absolute)
  } catch (cause) {
    throw new RefusedError(`${path}: cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause })
  }
  return ingest => ingest.addFolder(absolute, name)
}

/** The base name, where the argument is a path directly in the Nix store, or a symlink to one as `nix build` leaves it. */
function storePathOf(path: string): string | undefined {
  let target = resolve(path)
  // Link by link, since a store path may itself be a symlink.
  for (let links = 0; dirname(target) !== STORE_DIR && links < 40; links++) {
    try {
      target = resolve(realpathSync(dirname(target)), readlinkSync(target))
    } catch {
      return undefined
    }
  }
  return dirname(target) === STORE_DIR && isBaseName(basename(target)) ? basename(target) : undefined
}

/** What our own mount shows vouches for nothing: the Nix database's word counts only for files that Nix keeps. */
function refuseOurOwn(folder: string): void {
  const mount = ourMountBelow(folder)
  if (mount !== undefined)
    throw new RefusedError(
      `${folder}: is served by the nix-ipfs-mount mount at ${mount.mountpoint}, so it cannot be added from there`,
    )
}
