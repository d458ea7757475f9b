import { FormatError } from '../errors.ts'
import { encodeBase32 } from './base32.ts'
import { parseHash } from './hash.ts'
import { parseStorePath, STORE_DIR } from './store-path.ts'

/** What a Nix database says of a path that is valid there. */
export interface ValidPath {
  baseName: string
  /** sha2-256 of the NAR: 32 bytes. */
  narHash: Buffer
  /** Bytes. */
  narSize: number
  /** Base names, sorted bytewise, itself included where it refers to itself. */
  references: string[]
  /** Base name. */
  deriver?: string
  /** As Nix writes it: `fixed:r:sha256:<nix32>`, `text:sha256:<nix32>`, ... */
  ca?: string
  /** `<key name>:<base64>` */
  signatures: string[]
  /** Unix time in seconds; 0 where the store does not know it. */
  registrationTime: number
}

type Fields = Readonly<Record<string, unknown>>

/**
 * Reads what `nix path-info --json` prints, in every shape so far, and leaves out paths that are not valid:
 *
 * - to Nix 2.18, and Lix: an array of objects with `path`, and `valid: false` for those that are not;
 * - Nix 2.19 and newer: an object from full paths to objects, or null (`--json-format 1`);
 * - `--json-format 2` of Nix 2.33, `3` of 2.35: the same by base names as `info`, beside `version` and `storeDir`;
 *   base names everywhere, content addresses as objects, in 3 signatures too.
 *
 * See "Store Object Info" of the Nix manual, https://nix.dev/manual/nix/latest/protocols/json/store-object-info.
 * @throws FormatError for anything else
 */
export function parsePathInfo(json: unknown): ValidPath[] {
  if (Array.isArray(json)) return json.flatMap(entry => parseArrayEntry(entry))
  if (!isObject(json))
    throw new FormatError(`nix path-info --json printed ${describe(json)}: not a shape that is known`)
  if (!('version' in json) || !('info' in json)) return parseByPath(json)
  if (json.version !== 2 && json.version !== 3) {
    throw new FormatError(`nix path-info --json printed version ${describe(json.version)}: only 1, 2 and 3 are known`)
  }
  checkStoreDir(json)
  if (!isObject(json.info))
    throw new FormatError(`nix path-info --json: "info" is ${describe(json.info)}, not an object`)
  return parseByPath(json.info)
}

function parseArrayEntry(entry: unknown): ValidPath[] {
  if (!isObject(entry)) throw new FormatError(`nix path-info --json: an entry is ${describe(entry)}, not an object`)
  if (entry.valid === false) return []
  return [parseEntry(storePath(entry.path, 'a path'), entry)]
}

function parseByPath(info: Fields): ValidPath[] {
  return Object.entries(info).flatMap(([path, entry]) => {
    const baseName = storePath(path, 'a path')
    if (entry === null) return []
    if (!isObject(entry)) throw new FormatError(`nix path-info --json: ${path} is ${describe(entry)}, not an object`)
    return entry.valid === false ? [] : [parseEntry(baseName, entry)]
  })
}

function parseEntry(baseName: string, entry: Fields): ValidPath {
  checkStoreDir(entry)
  const { narSize, registrationTime = null } = entry
  const about = (field: string) => `${field} of ${baseName}`
  const narHash = parseHash(hashField(entry.narHash, about('narHash')))
  if (narHash.algorithm !== 'sha256') throw malformed(entry.narHash, about('narHash'))
  if (!isCount(narSize)) throw malformed(narSize, about('narSize'))
  if (registrationTime !== null && !isCount(registrationTime)) {
    throw malformed(registrationTime, about('registrationTime'))
  }
  const deriver = entry.deriver == null ? undefined : storePath(entry.deriver, about('deriver'))
  const ca = entry.ca == null || entry.ca === '' ? undefined : caField(entry.ca, about('ca'))
  return {
    baseName,
    narHash: narHash.digest,
    narSize,
    references: list(entry.references, about('references'))
      .map(reference => storePath(reference, about('a reference')))
      .sort(),
    ...(deriver !== undefined && { deriver }),
    ...(ca !== undefined && { ca }),
    signatures: list(entry.signatures ?? [], about('signatures')).map(signature =>
      signatureField(signature, about('a signature')),
    ),
    registrationTime: registrationTime ?? 0,
  }
}

/** A hash as text. Development versions of Nix 2.33 wrote objects with the digest as `format` says, hex or base64. */
function hashField(value: unknown, what: string): string {
  if (typeof value === 'string') return value
  if (isObject(value) && typeof value.algorithm === 'string' && typeof value.hash === 'string') {
    return `${value.algorithm}:${value.hash}`
  }
  throw malformed(value, what)
}

const caPrefixes: Readonly<Record<string, string>> = {
  flat: 'fixed:',
  nar: 'fixed:r:',
  git: 'fixed:git:',
  text: 'text:',
}

/** The text form, from text or from an object with `method` and `hash`. */
function caField(value: unknown, what: string): string {
  if (typeof value === 'string') return value
  const prefix = isObject(value) && typeof value.method === 'string' ? caPrefixes[value.method] : undefined
  if (prefix === undefined) throw malformed(value, what)
  const text = hashField((value as Fields).hash, what)
  // Blake3, which only an experimental Nix has, is known here by its length alone.
  const blake3 = /^blake3-([A-Za-z0-9+/]{43}=)$/.exec(text)
  if (blake3 !== null) return `${prefix}blake3:${encodeBase32(Buffer.from(blake3[1]!, 'base64'))}`
  const { algorithm, digest } = parseHash(text)
  return `${prefix}${algorithm}:${encodeBase32(digest)}`
}

function signatureField(value: unknown, what: string): string {
  if (typeof value === 'string') return value
  if (isObject(value) && typeof value.keyName === 'string' && typeof value.sig === 'string') {
    return `${value.keyName}:${value.sig}`
  }
  throw malformed(value, what)
}

function storePath(value: unknown, what: string): string {
  const baseName = typeof value === 'string' ? parseStorePath(value) : undefined
  if (baseName === undefined) throw malformed(value, what)
  return baseName
}

function checkStoreDir({ storeDir }: Fields): void {
  if (storeDir !== undefined && storeDir !== STORE_DIR) {
    throw new FormatError(
      `nix path-info --json: the store is ${describe(storeDir)}, and only ${STORE_DIR} is supported`,
    )
  }
}

function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw malformed(value, what)
  return value
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function malformed(value: unknown, what: string): FormatError {
  return new FormatError(`nix path-info --json: ${what} is ${describe(value)}`)
}

/** Foreign JSON on one short line. */
function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing'
  return text.length <= 100 ? text : `${text.slice(0, 100)}...`
}
