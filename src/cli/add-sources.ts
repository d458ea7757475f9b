import { createReadStream, lstatSync, openSync, readlinkSync, realpathSync } from 'node:fs'
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

/** What the local Nix says of those of the arguments that are store paths. */
export async function validPathsAmong({ path: paths, name, closure }: WhatToAdd): Promise<ValidPath[]> {
  const baseNames = namedStorePaths(paths, name).filter(baseName => baseName !== undefined)
  if (closure && baseNames.length < paths.length) throw new UsageError('--closure goes with store paths only')
  return baseNames.length > 0 ? await queryValidPaths(baseNames.map(fullPath), { closure }) : []
}

/** The base name of each argument that is a store path. */
function namedStorePaths(paths: readonly string[], name: string | undefined): (string | undefined)[] {
  return paths.map(path => (name === undefined ? storePathOf(path) : undefined))
}

/**
 * Looks at every argument before the first is read, so that a mistake in the last one adds nothing. `found` is what
 * {@link validPathsAmong} gave.
 */
export function planSources({ path: paths, name, closure }: WhatToAdd, found: readonly ValidPath[]): Source[] {
  const inStore = namedStorePaths(paths, name)
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

/** A NAR to be read from a file, which is opened now, or from standard input. Throws RefusedError. */
export function openNar(nar: string, name: string): Source {
  const chunks = readable(nar === '-' ? process.stdin : openStream(nar), nar)
  return ingest => ingest.addNar(chunks, name)
}

function openStream(file: string): AsyncIterable<Uint8Array> {
  try {
    return createReadStream(file, { fd: openSync(file, 'r'), highWaterMark: 1024 * 1024 })
  } catch (cause) {
    throw unreadable(file, cause)
  }
}

function unreadable(shown: string, cause: unknown): RefusedError {
  return new RefusedError(`${shown}: cannot be read (${systemCode(cause)})`, { cause })
}

/** The same chunks; an error of the stream says which input it was. */
async function* readable(input: AsyncIterable<Uint8Array>, shown: string): AsyncGenerator<Uint8Array> {
  const reader = input[Symbol.asyncIterator]()
  for (;;) {
    const next = await reader.next().catch(cause => {
      throw unreadable(shown, cause)
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
    throw unreadable(path, cause)
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
