import { textToBytes } from '../bytes.ts'
import { type CidBytes, cidText, parseCid } from '../cid.ts'
import { FormatError } from '../errors.ts'
import { hashText, narHashText, type ParsedHash, parseHash } from './hash.ts'
import { isSignatureText } from './signature.ts'
import { caText, fullPath, isBaseName, parseCa, parseStorePath, STORE_DIR } from './store-path.ts'

/**
 * narinfo: what a binary cache says of one store path, as lines `<field>: <value>`, each ended by a newline (`NarInfo`
 * in Nix's src/libstore/nar-info.cc), and the fields by which a catalogue adds the path's DAGs. What is taken here, Nix
 * takes alike; Nix 2.8 also takes these, which are refused here because no cache means them:
 *
 * - a single field given twice (Nix refuses that of References and CA, and takes the last of the others);
 * - a line without `: ` (Nix skips whatever follows the colon, even a newline, and so loses the next line);
 * - a Sig that is not `<key name>:<base64>` (refused by Nix from 2.34 on);
 * - store paths that are not in their one spelling or that current Nix refuses, digests in upper-case hex or loose
 *   base64, sizes with a sign or above 2^53 - 1;
 * - a NarHash by anything but sha256, which no Nix can print.
 */
export interface NarInfo {
  /** Base name of the store path. */
  baseName: string
  /** Of the compressed NAR, relative to the cache. Not empty. */
  url: string
  /** `none`, `xz`, ...; not checked. */
  compression: string
  /** Of the compressed NAR. */
  fileHash: ParsedHash | undefined
  /** Bytes of the compressed NAR. */
  fileSize: number | undefined
  /** sha2-256 of the NAR, 32 bytes. */
  narHash: Uint8Array
  /** Bytes of the NAR; not 0. */
  narSize: number
  /** Base names; when parsed, sorted bytewise, each once. */
  references: readonly string[]
  /** Base name. */
  deriver: string | undefined
  /** `<key name>:<base64>`; when parsed, sorted bytewise, each once. */
  signatures: readonly string[]
  /** Content address as Nix writes it. */
  ca: string | undefined
  /** IPFSRoot: CID of the tree. */
  root: CidBytes | undefined
  /** IPFSNar: CID of the NAR DAG. */
  nar: CidBytes | undefined
  /** IPFSSig, in the form of {@link signatures}. */
  ipfsSignatures: readonly string[]
}

/** Fields that are there once at most. Sig and IPFSSig repeat; all others are ignored, as Nix does. */
const singleFields = [
  'StorePath',
  'URL',
  'Compression',
  'FileHash',
  'FileSize',
  'NarHash',
  'NarSize',
  'References',
  'Deriver',
  'CA',
  'IPFSRoot',
  'IPFSNar',
] as const

type SingleField = (typeof singleFields)[number]
type RepeatedField = 'Sig' | 'IPFSSig'

const DEFAULT_COMPRESSION = 'bzip2'
const UNKNOWN_DERIVER = 'unknown-deriver'

/** Characters of a wrong value that a message shows. */
const SHOWN = 80

/**
 * Parses the text of a narinfo.
 * @param whence the file or URL it came from, for messages
 * @throws FormatError that names the field
 */
export function parseNarInfo(text: string, whence = 'narinfo'): NarInfo {
  const fields = new Fields(text, whence)
  return {
    baseName: fields.required('StorePath', storePath, `not a store path below ${STORE_DIR}`),
    url: fields.required('URL', url => url || undefined, 'empty'),
    compression: fields.text('Compression') || DEFAULT_COMPRESSION,
    fileHash: fields.optional('FileHash', parseHash, 'not a hash as Nix writes it'),
    fileSize: fields.optional('FileSize', size, 'not a number of bytes'),
    narHash: fields.required('NarHash', sha256Hash, 'not a sha256 hash as Nix writes it'),
    narSize: fields.required('NarSize', text => size(text) || undefined, 'not a number of bytes above 0'),
    references: fields.optional('References', baseNames, 'not a list of base names of store paths') ?? [],
    deriver: fields.optional('Deriver', deriver, 'not the base name of a store path') ?? undefined,
    signatures: fields.signatures('Sig'),
    ca: fields.optional('CA', contentAddress, 'not a content address as Nix writes it') ?? undefined,
    root: fields.optional('IPFSRoot', parseCid, 'not a CID'),
    nar: fields.optional('IPFSNar', parseCid, 'not a CID'),
    ipfsSignatures: fields.signatures('IPFSSig'),
  }
}

/**
 * The text of a narinfo, its fields in Nix's order and the catalogue's after them; References and signatures are
 * sorted. What is undefined has no line.
 * @throws FormatError for a value that would not read back
 */
export function printNarInfo(info: NarInfo): string {
  const { fileHash, fileSize, deriver, ca, root, nar } = info
  const lines: [SingleField | RepeatedField, string][] = [
    ['StorePath', fullPath(info.baseName)],
    ['URL', info.url],
    ['Compression', info.compression],
  ]
  if (fileHash !== undefined) lines.push(['FileHash', hashText(fileHash.algorithm, fileHash.digest)])
  if (fileSize !== undefined) lines.push(['FileSize', String(fileSize)])
  lines.push(['NarHash', narHashText(info.narHash)])
  lines.push(['NarSize', String(info.narSize)])
  lines.push(['References', sortedOnce(info.references).join(' ')])
  if (deriver !== undefined) lines.push(['Deriver', deriver])
  for (const signature of sortedOnce(info.signatures)) lines.push(['Sig', signature])
  if (ca !== undefined) lines.push(['CA', ca])
  if (root !== undefined) lines.push(['IPFSRoot', cidText(root)])
  if (nar !== undefined) lines.push(['IPFSNar', cidText(nar)])
  for (const signature of sortedOnce(info.ipfsSignatures)) lines.push(['IPFSSig', signature])
  const broken = lines.find(([, value]) => value.includes('\n'))
  if (broken !== undefined)
    throw new FormatError(`${info.baseName}: ${broken[0]}: ${shown(broken[1])} has a line break`)
  return lines.map(([field, value]) => `${field}: ${value}\n`).join('')
}

/** The lines by field, and the messages about them. */
class Fields {
  readonly #whence: string
  readonly #single = new Map<SingleField, string>()
  readonly #repeated: Record<RepeatedField, string[]> = { Sig: [], IPFSSig: [] }

  constructor(text: string, whence: string) {
    this.#whence = whence
    const lines = text.split('\n')
    if (lines.pop() !== '') throw this.#error(`line ${lines.length + 1} has no newline at its end`)
    for (const [i, line] of lines.entries()) {
      const colon = line.indexOf(':')
      if (colon < 0 || line[colon + 1] !== ' ')
        throw this.#error(`line ${i + 1}: ${shown(line)} is not <field>: <value>`)
      this.#add(line.slice(0, colon), line.slice(colon + 2))
    }
  }

  #add(field: string, value: string): void {
    if (field === 'Sig' || field === 'IPFSSig') {
      this.#repeated[field].push(value)
    } else if (isSingle(field)) {
      if (this.#single.has(field)) throw this.#error(`${field}: is there twice`)
      this.#single.set(field, value)
    }
  }

  text(field: SingleField): string | undefined {
    return this.#single.get(field)
  }

  /** @param parse undefined or a FormatError for a wrong value; null for one that stands for none */
  optional<T>(field: SingleField, parse: (value: string) => T | undefined, problem: string): T | undefined {
    const value = this.text(field)
    if (value === undefined) return undefined
    const { result, cause } = attempt(() => parse(value))
    if (result === undefined) throw this.#error(`${field}: ${shown(value)} is ${problem}`, cause)
    return result
  }

  required<T>(field: SingleField, parse: (value: string) => T | undefined, problem: string): T {
    const value = this.optional(field, parse, problem)
    if (value === undefined) throw this.#error(`${field}: is missing`)
    return value
  }

  signatures(field: RepeatedField): string[] {
    const wrong = this.#repeated[field].find(value => !isSignatureText(value))
    if (wrong !== undefined) throw this.#error(`${field}: ${shown(wrong)} is not <key name>:<base64>`)
    return sortedOnce(this.#repeated[field])
  }

  #error(problem: string, cause?: unknown): FormatError {
    return new FormatError(`${this.#whence}: ${problem}`, { cause })
  }
}

function isSingle(field: string): field is SingleField {
  return (singleFields as readonly string[]).includes(field)
}

function attempt<T>(parse: () => T): { result?: T; cause?: unknown } {
  try {
    return { result: parse() }
  } catch (cause) {
    if (cause instanceof FormatError) return { cause }
    throw cause
  }
}

function storePath(value: string): string | undefined {
  return value.startsWith(`${STORE_DIR}/`) ? parseStorePath(value) : undefined
}

function size(value: string): number | undefined {
  const bytes = /^\d+$/.test(value) ? Number(value) : Number.NaN
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

function sha256Hash(value: string): Buffer | undefined {
  const { algorithm, digest } = parseHash(value)
  return algorithm === 'sha256' ? digest : undefined
}

function baseNames(value: string): string[] | undefined {
  const names = value.split(' ').filter(name => name !== '')
  return names.every(isBaseName) ? sortedOnce(names) : undefined
}

function deriver(value: string): string | null | undefined {
  if (value === UNKNOWN_DERIVER) return null
  return isBaseName(value) ? value : undefined
}

/** In Nix's one spelling; of a kind that is not recomputed here, as it is. An empty one is none. */
function contentAddress(value: string): string | null {
  if (value === '') return null
  const ca = parseCa(value)
  return ca === undefined ? value : caText(ca)
}

/** Bytewise, as Nix's sets are; names of keys need not be ASCII. */
function sortedOnce(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort((a, b) => Buffer.compare(textToBytes(a), textToBytes(b)))
}

function shown(value: string): string {
  return JSON.stringify(value.length > SHOWN ? `${value.slice(0, SHOWN)}...` : value)
}
