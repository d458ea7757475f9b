import {
  createPrivateKey,
  createPublicKey,
  sign as ed25519Sign,
  verify as ed25519Verify,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'
import { type CidBytes, cidText, dagPbCid, readCid } from '../cid.ts'
import { FormatError } from '../errors.ts'
import { narHashText } from './hash.ts'
import { fullPath } from './store-path.ts'

/**
 * Nix's signatures: ed25519 (RFC 8032) over a text that says what a path holds. Keys and signatures are written
 * `<key name>:<base64>`: of 32 bytes for a public key, of 64 for a secret one (its seed, then its public key), of 64
 * for a signature. (Nix's src/libutil/signature/local-keys.cc, and `ValidPathInfo::fingerprint`.)
 */
export interface PublicKey {
  readonly name: string
  /** 32 bytes. */
  readonly bytes: Buffer
  readonly key: KeyObject
}

/** The secret itself is in the KeyObject only, which does not show it when it is printed. */
export interface SecretKey {
  readonly name: string
  readonly key: KeyObject
  readonly publicKey: PublicKey
}

const SEED_BYTES = 32
const PUBLIC_BYTES = 32
const SIGNATURE_BYTES = 64

const NAMED_BASE64 = /^([^:]+):([A-Za-z0-9+/]+)={0,2}$/
// A list of keys is separated by white space, and a name ends at the colon.
const KEY_NAME = /^[^\s:\p{Cc}]{1,255}$/u

/** Whether a key may be called so. */
export function isKeyName(name: string): boolean {
  return KEY_NAME.test(name)
}

export function generateSecretKey(name: string): SecretKey {
  if (!isKeyName(name)) throw new FormatError(`${JSON.stringify(name)} cannot be the name of a key`)
  return secretKey(name, generateKeyPairSync('ed25519').privateKey)
}

/**
 * Parses a secret key as `nix-store --generate-binary-cache-key` and {@link secretKeyText} write it.
 * @throws FormatError, which does not quote it
 */
export function parseSecretKey(text: string): SecretKey {
  const { name, bytes } = parseNamed(text) ?? {}
  if (name === undefined || bytes?.length !== SEED_BYTES + PUBLIC_BYTES) {
    throw new FormatError('not a secret key as Nix writes it, <name>:<base64 of 64 bytes>')
  }
  const x = bytes.subarray(SEED_BYTES)
  const jwk = { kty: 'OKP', crv: 'Ed25519', d: base64url(bytes.subarray(0, SEED_BYTES)), x: base64url(x) }
  const parsed = secretKey(name, createPrivateKey({ key: jwk, format: 'jwk' }))
  // A signature made with another key's public half would give the secret away.
  if (!parsed.publicKey.bytes.equals(x))
    throw new FormatError(`${name}: the secret key's two halves are not of one key`)
  return parsed
}

function secretKey(name: string, key: KeyObject): SecretKey {
  const publicKey = createPublicKey(key)
  return { name, key, publicKey: { name, bytes: rawPublicKey(publicKey), key: publicKey } }
}

/** `<name>:<base64 of seed and public key>`: to be kept secret. */
export function secretKeyText({ name, key, publicKey }: SecretKey): string {
  const seed = Buffer.from(key.export({ format: 'jwk' }).d!, 'base64url')
  return `${name}:${Buffer.concat([seed, publicKey.bytes]).toString('base64')}`
}

/** @throws FormatError */
export function parsePublicKey(text: string): PublicKey {
  const { name, bytes } = parseNamed(text) ?? {}
  if (name === undefined || bytes?.length !== PUBLIC_BYTES) {
    throw new FormatError(`${JSON.stringify(text)} is not a public key as Nix writes it, <name>:<base64 of 32 bytes>`)
  }
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: base64url(bytes) }, format: 'jwk' })
  return { name, bytes, key }
}

/** A list as nix.conf's `trusted-public-keys` has it: separated by white space. Throws FormatError. */
export function parsePublicKeys(text: string): PublicKey[] {
  return text
    .split(/\s+/)
    .filter(word => word !== '')
    .map(parsePublicKey)
}

/** `<name>:<base64>` */
export function publicKeyText({ name, bytes }: PublicKey): string {
  return `${name}:${bytes.toString('base64')}`
}

/** What a signature vouches for. */
export interface SignedPath {
  baseName: string
  /** sha2-256 of the NAR, 32 bytes. */
  narHash: Uint8Array
  narSize: number
  /** Base names in any order, itself included where it refers to itself. */
  references: readonly string[]
}

/** What Sig signs: `1;<store path>;<narHash>;<narSize>;<references>`. */
export function fingerprint(path: SignedPath): string {
  return ['1', ...signedFields(path)].join(';')
}

/**
 * What IPFSSig signs, so that a tree can be trusted before its files are here:
 * `nix-ipfs-1;<store path>;<narHash>;<narSize>;<references>;<CID of the tree>;<CID of the NAR DAG>`.
 */
export function ipfsFingerprint(path: SignedPath & { root: CidBytes; nar: CidBytes }): string {
  return ['nix-ipfs-1', ...signedFields(path), version1Text(path.root), version1Text(path.nar)].join(';')
}

function signedFields({ baseName, narHash, narSize, references }: SignedPath): string[] {
  const paths = [...new Set(references)].sort().map(fullPath)
  return [fullPath(baseName), narHashText(narHash), String(narSize), paths.join(',')]
}

/** Base32 of version 1, whatever the version, so that a CID has one text. */
function version1Text(cid: CidBytes): string {
  const parts = readCid(cid)
  return cidText(parts?.version === 0 ? dagPbCid(parts.digest) : cid)
}

/** The signature of a text, as `<key name>:<base64>`. */
export function sign(text: string, { name, key }: SecretKey): string {
  return `${name}:${ed25519Sign(null, Buffer.from(text), key).toString('base64')}`
}

/** Whether the signature is the key's, by name and by number. A malformed one is not. */
export function verify(text: string, signature: string, { name, key }: PublicKey): boolean {
  const parsed = parseNamed(signature)
  if (parsed?.name !== name || parsed.bytes.length !== SIGNATURE_BYTES) return false
  return ed25519Verify(null, Buffer.from(text), key, parsed.bytes)
}

/** Those of the keys that signed the text: each once, also where it is known by several names. */
export function signers(text: string, signatures: readonly string[], keys: readonly PublicKey[]): PublicKey[] {
  const found = new Map<string, PublicKey>()
  for (const key of keys) {
    const id = key.bytes.toString('latin1')
    if (!found.has(id) && signatures.some(signature => verify(text, signature, key))) found.set(id, key)
  }
  return [...found.values()]
}

/** Whether a text is `<key name>:<base64>`, of any length: Nix may come to sign by other algorithms. */
export function isSignatureText(text: string): boolean {
  return NAMED_BASE64.test(text)
}

/** Undefined for another form. As in Nix, the padding may be missing. */
function parseNamed(text: string): { name: string; bytes: Buffer } | undefined {
  const [, name, base64] = NAMED_BASE64.exec(text) ?? []
  if (name === undefined || base64 === undefined || !isKeyName(name)) return undefined
  return { name, bytes: Buffer.from(base64, 'base64') }
}

function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: 'jwk' }).x!, 'base64url')
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}
