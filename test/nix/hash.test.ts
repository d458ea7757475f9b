import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { narHashText, parseHash } from '../../src/nix/hash.ts'
import { output } from '../helpers/run.ts'
import { formatErrorOf } from './support.ts'

for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512'] as const) {
  test(`${algorithm} is read in all the forms that nix hash prints`, async () => {
    const digest = createHash(algorithm).update('store').digest()
    const hex = digest.toString('hex')
    for (const form of ['to-base16', 'to-base32', 'to-base64', 'to-sri']) {
      const nix = ['--extra-experimental-features', 'nix-command', 'hash', form, '--type', algorithm, hex]
      const text = (await output('nix', nix)).toString().trim()
      const prefixed = form === 'to-sri' ? text : `${algorithm}:${text}`
      assert.deepEqual(parseHash(prefixed), { algorithm, digest }, prefixed)
    }
  })
}

test('narHash is printed as in a narinfo', () => {
  // echo -n | nix-hash --type sha256 --flat --base32 /dev/stdin
  const digest = createHash('sha256').digest()
  assert.equal(narHashText(digest), 'sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73')
})

test('anything else is refused in one line', () => {
  const hex = 'a'.repeat(64)
  const refused = [
    '',
    'sha256',
    hex,
    `sha256:${hex.slice(1)}`,
    `sha256:${hex.toUpperCase()}`,
    `sha256:${hex}\n`,
    `sha256: ${hex}`,
    `sha256-${hex}`,
    `SHA256:${hex}`,
    `sha3:${hex}`,
    `sha1:${hex}`,
    'sha256:0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c7e',
    'sha256:zmdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73',
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU',
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=',
    'sha256-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=',
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= ',
  ]
  for (const text of refused)
    assert.match(
      formatErrorOf(() => parseHash(text)),
      /is not a hash/,
      text,
    )
  assert.ok(parseHash('sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='))
})
