import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeBase32, encodeBase32 } from '../../src/nix/base32.ts'
import { output } from '../helpers/run.ts'

const seed = 20260801
const alphabet = '0123456789abcdfghijklmnpqrsvwxyz'

test('texts are those of nix-hash --to-base32', async () => {
  const cases: [type: string, bytes: number, digest: Buffer][] = []
  for (const [type, bytes] of [
    ['md5', 16],
    ['sha1', 20],
    ['sha256', 32],
    ['sha512', 64],
  ] as const) {
    for (const fill of [0, 1, 0x80, 0xff]) cases.push([type, bytes, Buffer.alloc(bytes, fill)])
    const ramp = Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 37 + bytes) & 0xff))
    cases.push([type, bytes, ramp])
  }
  await Promise.all(
    cases.map(async ([type, , digest]) => {
      const hex = digest.toString('hex')
      const text = (await output('nix-hash', ['--type', type, '--to-base32', hex])).toString().trim()
      assert.equal(encodeBase32(digest), text)
      assert.deepEqual(decodeBase32(text), digest)
    }),
  )
})

test('every byte string comes back from its text', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), bytes => {
      assert.deepEqual(decodeBase32(encodeBase32(bytes)), Buffer.from(bytes))
    }),
    { seed },
  )
})

test('a text that is decoded is the one text of its bytes', () => {
  const character = fc.constantFrom(...alphabet)
  fc.assert(
    fc.property(fc.string({ unit: character, maxLength: 110 }), text => {
      const bytes = decodeBase32(text)
      if (bytes !== undefined) assert.equal(encodeBase32(bytes), text)
    }),
    { seed, numRuns: 500 },
  )
})

test('wrong lengths, characters and left-over bits are refused', () => {
  const good = encodeBase32(Buffer.alloc(32, 0xff))
  assert.equal(good.length, 52)
  // 32 bytes are 256 bits, 52 characters 260: the first character holds the last bit only.
  assert.equal(good[0], '1')
  assert.ok(decodeBase32(good))
  assert.equal(decodeBase32(`2${good.slice(1)}`), undefined, 'a bit beyond the last byte')
  assert.equal(decodeBase32(`z${good.slice(1)}`), undefined)
  for (const length of [1, 3, 6, 9, 11])
    assert.equal(decodeBase32('0'.repeat(length)), undefined, `${length} characters`)
  for (const bad of ['e', 'o', 't', 'u', 'A', '-', ' ', 'ä', '\n']) {
    assert.equal(decodeBase32(bad + good.slice(1)), undefined, JSON.stringify(bad))
  }
  assert.deepEqual(decodeBase32(''), Buffer.alloc(0))
})
