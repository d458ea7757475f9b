import { sha256 } from '../cid.ts'
import { FormatError } from '../errors.ts'
import { encodeBase32 } from './base32.ts'
import { type HashAlgorithm, hashText, parseHash } from './hash.ts'

/**
 * Store paths: their form, and how Nix computes them ("Complete Store Path Calculation" of the Nix manual,
 * https://nix.dev/manual/nix/latest/protocols/store-path). Inside the program a path is its base name,
 * `<hash part>-<name>`; base names are ASCII, so comparing strings compares bytes.
 */

export const STORE_DIR = '/nix/store'

/** Characters: nix32 of 20 bytes. */
export const HASH_PART_LENGTH = 32
const HASH_PART_BYTES = 20
const MAX_NAME_LENGTH = 211

const NAME = /^[0-9A-Za-z+\-._?=]+$/
const HASH_PART = /^[0-9abcdfghijklmnpqrsvwxyz]{32}$/

/**
 * Names that Nix 2.8 takes, but that Nix since 2.20.3 refuses: their first dash-separated part reads as a folder's own
 * or parent entry. We refuse them too, since no current Nix could use such a path. (Some versions between refused every
 * leading dot; current ones do not.)
 */
const DOT_NAME = /^\.\.?(-|$)/

/** The part after the hash part: 1 to 211 characters. */
export function isValidName(name: string): boolean {
  return name.length <= MAX_NAME_LENGTH && NAME.test(name) && !DOT_NAME.test(name)
}

export function isHashPart(text: string): boolean {
  return HASH_PART.test(text)
}

/** `<hash part>-<name>` */
export function isBaseName(text: string): boolean {
  return text[HASH_PART_LENGTH] === '-' && isHashPart(hashPart(text)) && isValidName(nameOf(text))
}

export function hashPart(baseName: string): string {
  return baseName.slice(0, HASH_PART_LENGTH)
}

export function nameOf(baseName: string): string {
  return baseName.slice(HASH_PART_LENGTH + 1)
}

export function fullPath(baseName: string): string {
  return `${STORE_DIR}/${baseName}`
}

/** The base name of a full path or a base name; undefined for anything else, also for a path below a store path. */
export function parseStorePath(text: string): string | undefined {
  const baseName = text.startsWith(`${STORE_DIR}/`) ? text.slice(STORE_DIR.length + 1) : text
  return isBaseName(baseName) ? baseName : undefined
}

/** What a path computed from its contents refers to. */
interface ReferenceFields {
  /** Base names of other paths, in any order; not the path's own, which is what is being computed. */
  references: readonly string[]
  /** Whether it also refers to itself. */
  selfReference: boolean
}

/**
 * Base name of what `nix store add-path` makes, and of any recursive sha256 content address. `narHash` is the sha2-256
 * of the NAR; for a path that refers to itself, the hash modulo its own hash part that its content address has.
 */
export function makeSourcePath(options: { name: string; narHash: Uint8Array } & ReferenceFields): string {
  const { name, narHash, references, selfReference } = options
  return makePath(typeWithReferences('source', references, selfReference), narHash, name)
}

export interface FixedOutputPath extends Partial<ReferenceFields> {
  name: string
  /** What was hashed: the one file's bytes, or the NAR. */
  method: 'flat' | 'recursive'
  algorithm: HashAlgorithm
  digest: Uint8Array
}

/**
 * Base name of a fixed output.
 * @throws FormatError for references with anything but recursive sha256: Nix has no such paths
 */
export function makeFixedOutputPath(options: FixedOutputPath): string {
  const { name, method, algorithm, digest, references = [], selfReference = false } = options
  if (method === 'recursive' && algorithm === 'sha256') {
    return makeSourcePath({ name, narHash: digest, references, selfReference })
  }
  if (references.length > 0 || selfReference) {
    throw new FormatError(`${name}: a fixed output by ${method} ${algorithm} cannot have references`)
  }
  const prefix = method === 'recursive' ? 'r:' : ''
  const inner = sha256(Buffer.from(`fixed:out:${prefix}${algorithm}:${Buffer.from(digest).toString('hex')}:`))
  return makePath('output:out', inner, name)
}

/** Base name of a text file as `builtins.toFile` and derivations make it; `digest` is the sha2-256 of its bytes. */
export function makeTextPath(options: { name: string; digest: Uint8Array; references: readonly string[] }): string {
  const { name, digest, references } = options
  return makePath(typeWithReferences('text', references, false), digest, name)
}

/** sha2-256 of `<type>:sha256:<hex of inner>:<store dir>:<name>`, folded to 20 bytes. */
function makePath(type: string, inner: Uint8Array, name: string): string {
  const text = `${type}:sha256:${Buffer.from(inner).toString('hex')}:${STORE_DIR}:${name}`
  const folded = Buffer.alloc(HASH_PART_BYTES)
  sha256(Buffer.from(text)).forEach((byte, i) => {
    folded[i % HASH_PART_BYTES]! ^= byte
  })
  return `${encodeBase32(folded)}-${name}`
}

function typeWithReferences(type: string, references: readonly string[], selfReference: boolean): string {
  const self = selfReference ? ['self'] : []
  return [type, ...[...references].sort().map(fullPath), ...self].join(':')
}

/** A content address: how the contents were hashed, and the hash. */
export interface ContentAddress {
  method: 'flat' | 'recursive' | 'text'
  algorithm: HashAlgorithm
  digest: Buffer
}

const caPrefixes = { text: 'text:', flat: 'fixed:', recursive: 'fixed:r:' } as const

/** `text:sha256:<nix32>`, `fixed:<algorithm>:<nix32>` or `fixed:r:<algorithm>:<nix32>` */
export function caText({ method, algorithm, digest }: ContentAddress): string {
  return caPrefixes[method] + hashText(algorithm, digest)
}

/**
 * Undefined for a content address of a kind that is not recomputed here: Nix's experimental `git` method and blake3.
 * @throws FormatError for what is none
 */
export function parseCa(text: string): ContentAddress | undefined {
  const match = /^(text|fixed):(r:|git:)?(\w+:.+)$/.exec(text)
  const [, kind, ingestion, hash] = match ?? []
  if (hash === undefined || (kind === 'text' && ingestion !== undefined)) {
    throw new FormatError(`${JSON.stringify(text)} is not a content address as Nix writes it`)
  }
  if (ingestion === 'git:' || hash.startsWith('blake3:')) return undefined
  const method = kind === 'text' ? 'text' : ingestion === 'r:' ? 'recursive' : 'flat'
  const { algorithm, digest } = parseHash(hash)
  if (method === 'text' && algorithm !== 'sha256') throw new FormatError(`${text}: a text is addressed by sha256 only`)
  return { method, algorithm, digest }
}

/**
 * The base name that a content address gives. `references` are those to other paths.
 * @throws FormatError for references that this kind of address cannot have
 */
export function pathFromCa(
  ca: ContentAddress,
  name: string,
  references: readonly string[],
  selfReference = false,
): string {
  const { method, algorithm, digest } = ca
  if (method !== 'text') return makeFixedOutputPath({ name, method, algorithm, digest, references, selfReference })
  if (selfReference) throw new FormatError(`${name}: a text cannot refer to itself`)
  return makeTextPath({ name, digest, references })
}
