import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { StateError, systemCode } from '../errors.ts'

/**
 * The state folder:
 *
 *     format     marks the folder as ours: JSON {"format": "nix-ipfs-mount-state", "version": 1, "blocks": "local"}
 *     index/     LMDB
 *     packs/     pack files
 *     secret-key the key of `key generate`
 *     mount.log  what mounts in the background say
 *     repair.*   empty, while a repair is at work
 *
 * `format` appears last and whole, by link(2), so that two processes may create a state at once.
 */
export interface StateFolder {
  folder: string
  /** The block store this state was made for. */
  blocks: string
  index: string
  packs: string
}

export const STATE_VERSION = 1
const FORMAT_NAME = 'nix-ipfs-mount-state'
const FORMAT_FILE = 'format'

/**
 * Opens the state folder, and makes it where it does not exist or is empty, then with the block store that is wanted,
 * or `local`. Throws StateError.
 */
export function openStateFolder(folder: string, wanted: string | undefined): StateFolder {
  const { blocks } = readFormat(folder) ?? create(folder, wanted ?? 'local')
  if (wanted !== undefined && wanted !== blocks) {
    throw new StateError(
      `${folder}: this state keeps its blocks in ${blocks}, not ${wanted}; use --blocks ${blocks} or another --state`,
    )
  }
  return { folder, blocks, index: join(folder, 'index'), packs: join(folder, 'packs') }
}

function readFormat(folder: string): { blocks: string } | undefined {
  const file = join(folder, FORMAT_FILE)
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined
    throw new StateError(`${file}: cannot be read (${systemCode(cause)})`, { cause })
  }
  const format = parseFormat(text)
  if (format?.format !== FORMAT_NAME || typeof format.version !== 'number' || typeof format.blocks !== 'string') {
    throw new StateError(`${folder} is not a state folder of nix-ipfs-mount; name another with --state`)
  }
  if (format.version > STATE_VERSION) {
    throw new StateError(
      `${folder} was made by a newer nix-ipfs-mount (state version ${format.version}, this one knows ${STATE_VERSION}); use that one`,
    )
  }
  return { blocks: format.blocks }
}

function parseFormat(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function create(folder: string, blocks: string): { blocks: string } {
  try {
    makeFolder(folder)
    refuseForeign(folder)
    for (const name of ['index', 'packs']) mkdirSync(join(folder, name), { recursive: true })
    writeFormat(folder, blocks)
  } catch (cause) {
    throw cannotMake(folder, cause)
  }
  const made = readFormat(folder)
  if (made === undefined) throw new StateError(`${folder}: the state folder vanished while it was made`)
  return made
}

function cannotMake(folder: string, cause: unknown): StateError {
  if (cause instanceof StateError) return cause
  return new StateError(
    `${folder}: the state folder cannot be made (${systemCode(cause) ?? cause}); name another with --state`,
    { cause },
  )
}

/** Another process may be creating the same state now: its folders and temporary files are not foreign. */
function refuseForeign(folder: string): void {
  const foreign = readdirSync(folder).find(
    name => !['index', 'packs', FORMAT_FILE].includes(name) && !name.startsWith(`${FORMAT_FILE}.`),
  )
  if (foreign !== undefined) {
    throw new StateError(
      `${folder} holds other things (${foreign}) and is not a state folder of nix-ipfs-mount; name another with --state`,
    )
  }
}

/**
 * Makes the folder where it is missing, and says whether it is a state already: if not, it is one that
 * {@link openStateFolder} would make. Throws StateError where it holds other things.
 */
export function prepareStateFolder(folder: string): { isState: boolean } {
  if (readFormat(folder) !== undefined) return { isState: true }
  try {
    makeFolder(folder)
    refuseForeign(folder)
  } catch (cause) {
    throw cannotMake(folder, cause)
  }
  return { isState: false }
}

/** Node's recursive mkdir says ENOENT for a read-only filesystem; a plain one says what it is. */
function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') mkdirSync(folder)
    throw cause
  }
}

function writeFormat(folder: string, blocks: string): void {
  const temporary = join(folder, `${FORMAT_FILE}.${process.pid}`)
  const fd = openSync(temporary, 'w', 0o644)
  try {
    writeSync(fd, `${JSON.stringify({ format: FORMAT_NAME, version: STATE_VERSION, blocks })}\n`)
    fsyncSync(fd)
    linkSync(temporary, join(folder, FORMAT_FILE))
  } catch (cause) {
    if (systemCode(cause) !== 'EEXIST') throw cause
  } finally {
    closeSync(fd)
    unlinkSync(temporary)
  }
  const directory = openSync(folder, 'r')
  fsyncSync(directory)
  closeSync(directory)
}
