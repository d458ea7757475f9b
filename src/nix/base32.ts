/**
 * Nix's base32: the digits and letters without e, o, t and u. The bytes count as one little-endian number, whose most
 * significant five bits come first, so this is not RFC 4648. (`BaseNix32` in Nix's src/libutil/base-nix-32.cc.)
 */
const ALPHABET = '0123456789abcdfghijklmnpqrsvwxyz'

const values = new Map([...ALPHABET].map((character, value) => [character, value]))

/** Characters that this many bytes take. */
export function base32Length(bytes: number): number {
  return Math.ceil((bytes * 8) / 5)
}

export function encodeBase32(bytes: Uint8Array): string {
  let text = ''
  for (let n = base32Length(bytes.length) - 1; n >= 0; n--) {
    const bit = n * 5
    const at = bit >> 3
    const pair = bytes[at]! | ((bytes[at + 1] ?? 0) << 8)
    text += ALPHABET[(pair >> (bit & 7)) & 31]
  }
  return text
}

/**
 * The bytes, or undefined for a length that no bytes have, a character that is none of the 32, or bits left over that
 * are not 0: each byte string has exactly one text.
 */
export function decodeBase32(text: string): Buffer | undefined {
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8))
  if (base32Length(bytes.length) !== text.length) return undefined
  for (let n = 0; n < text.length; n++) {
    const value = values.get(text[text.length - 1 - n]!)
    if (value === undefined) return undefined
    const bit = n * 5
    const at = bit >> 3
    const pair = value << (bit & 7)
    bytes[at]! |= pair & 0xff
    if (at + 1 < bytes.length) bytes[at + 1]! |= pair >> 8
    else if (pair >> 8 !== 0) return undefined
  }
  return bytes
}
