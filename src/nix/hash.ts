import { FormatError } from '../errors.ts'
import { base32Length, decodeBase32, encodeBase32 } from './base32.ts'

/**
 * Hashes as Nix writes them: `<algorithm>:<digest in nix32, hex or base64>`, or `<algorithm>-<digest in base64>`
 * (W3C Subresource Integrity). Which of the three encodings follows the colon, the length tells.
 */

/** Bytes of a digest. */
const digestBytes = { md5: 16, sha1: 20, sha256: 32, sha512: 64 } as const

export type HashAlgorithm = keyof typeof digestBytes

export interface ParsedHash {
  algorithm: HashAlgorithm
  digest: Buffer
}

/** `sha256:<nix32>` of a sha2-256 digest, as narinfo files and the Nix database's fingerprints have it. */
export function narHashText(digest: Uint8Array): string {
  return hashText('sha256', digest)
}

/** `<algorithm>:<nix32>` */
export function hashText(algorithm: HashAlgorithm, digest: Uint8Array): string {
  return `${algorithm}:${encodeBase32(digest)}`
}

/** @throws FormatError */
export function parseHash(text: string): ParsedHash {
  const hash = tryParseHash(text)
  if (hash === undefined) throw new FormatError(`${JSON.stringify(text)} is not a hash as Nix writes it`)
  return hash
}

function tryParseHash(text: string): ParsedHash | undefined {
  const match = /^(md5|sha1|sha256|sha512)([:-])(.*)$/.exec(text)
  if (match === null) return undefined
  const [, algorithm, separator, encoded] = match as unknown as [string, HashAlgorithm, string, string]
  const digest = decodeDigest(encoded, digestBytes[algorithm], separator === '-')
  return digest && { algorithm, digest }
}

function decodeDigest(text: string, length: number, sri: boolean): Buffer | undefined {
  if (!sri && text.length === length * 2) return /^[0-9a-f]+$/.test(text) ? Buffer.from(text, 'hex') : undefined
  if (!sri && text.length === base32Length(length)) return decodeBase32(text)
  return decodeBase64(text, length)
}

/** Canonical padded base64 of exactly `length` bytes, or undefined. */
function decodeBase64(text: string, length: number): Buffer | undefined {
  const digest = Buffer.from(text, 'base64')
  // Buffer.from skips what is not base64, so the text must be the one that these bytes have.
  return digest.length === length && digest.toString('base64') === text ? digest : undefined
}
