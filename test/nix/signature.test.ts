import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { dagPbCid, rawCid } from '../../src/cid.ts'
import { FormatError } from '../../src/errors.ts'
import { parseHash } from '../../src/nix/hash.ts'
import {
  fingerprint,
  generateSecretKey,
  ipfsFingerprint,
  isKeyName,
  isSignatureText,
  parsePublicKey,
  parsePublicKeys,
  parseSecretKey,
  publicKeyText,
  type SignedPath,
  secretKeyText,
  sign,
  signers,
  verify,
} from '../../src/nix/signature.ts'
import { parseStorePath } from '../../src/nix/store-path.ts'
import { type NixPathInfo, type NixStore, nixStore, sampleClosure } from '../helpers/nix.ts'

const RUNS = { seed: 20260402, numRuns: 60 }

const scope = { after }
const store: NixStore = nixStore(scope)
const nixKey = { secret: join(store.root, 'secret'), public: join(store.root, 'public') }
/** A path with references, itself among them, and one without; neither is content-addressed. */
let sample: string

before(async () => {
  ;[sample = ''] = await store.build(sampleClosure)
  await store.output('nix-store', ['--generate-binary-cache-key', 'nix.example.org-1', nixKey.secret, nixKey.public])
})

const baseName = (path: string) => parseStorePath(path)!

function asSigned({ path, narHash, narSize, references }: NixPathInfo): SignedPath {
  return {
    baseName: baseName(path),
    narHash: parseHash(narHash).digest,
    narSize,
    references: references.map(baseName).reverse(),
  }
}

/** The paths of the sample that a builder made. */
async function built(): Promise<NixPathInfo[]> {
  const all = await store.info()
  return all.filter(({ path }) => !path.endsWith('.drv'))
}

/** `nix store verify` of the sample and all it refers to: whether Nix trusts these keys' signatures. */
async function nixTrusts(publicKeys: string): Promise<boolean> {
  const options = ['--sigs-needed', '1', '--option', 'trusted-public-keys', publicKeys]
  const { code, stderr } = await store.run('nix', ['store', 'verify', '-r', ...options, sample])
  if (code !== 0) assert.match(stderr, /is untrusted/)
  return code === 0
}

test('a key that Nix made reads, prints and belongs together as in Nix', () => {
  const secretText = readFileSync(nixKey.secret, 'utf8')
  const publicText = readFileSync(nixKey.public, 'utf8')
  const key = parseSecretKey(secretText)
  assert.equal(key.name, 'nix.example.org-1')
  assert.equal(secretKeyText(key), secretText)
  assert.equal(publicKeyText(key.publicKey), publicText)
  const publicKey = parsePublicKey(publicText)
  assert.equal(publicKeyText(publicKey), publicText)
  assert.deepEqual(publicKey.bytes, key.publicKey.bytes)
})

test("Nix's signatures verify here, and are the ones made here", async () => {
  await store.output('nix', ['store', 'sign', '-r', '--key-file', nixKey.secret, sample])
  const secret = parseSecretKey(readFileSync(nixKey.secret, 'utf8'))
  const paths = await built()
  assert.equal(paths.length, 2)
  assert.ok(paths.some(({ path, references }) => references.includes(path) && references.length > 1))
  for (const path of paths) {
    const text = fingerprint(asSigned(path))
    const signature = path.signatures?.find(signature => signature.startsWith(`${secret.name}:`))
    assert.ok(signature)
    assert.equal(verify(text, signature, secret.publicKey), true)
    // Ed25519 has one signature of a text by a key.
    assert.equal(sign(text, secret), signature)
  }
})

test('Nix takes signatures by a key made here, and only with that key', async () => {
  const ours = generateSecretKey('ours.example.org-1')
  const file = join(store.root, 'ours')
  writeFileSync(file, secretKeyText(ours))
  await store.output('nix', ['store', 'sign', '-r', '--key-file', file, sample])
  assert.equal(await nixTrusts(publicKeyText(ours.publicKey)), true)
  assert.equal(await nixTrusts(publicKeyText(generateSecretKey(ours.name).publicKey)), false)
  const fromNix = (
    await store.output('nix', ['key', 'convert-secret-to-public'], { input: secretKeyText(ours) })
  ).toString()
  assert.equal(fromNix.trim(), publicKeyText(ours.publicKey))
})

test('a signature is that of RFC 8032, section 7.1, test 1', () => {
  const seed = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'
  const publicKey = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'
  const key = parseSecretKey(`rfc:${Buffer.from(seed + publicKey, 'hex').toString('base64')}`)
  const expected =
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b'
  assert.equal(sign('', key), `rfc:${Buffer.from(expected, 'hex').toString('base64')}`)
})

const path: SignedPath = {
  baseName: '384lk96mvl7yxn8zyvl1kwia6zims64v-sample-1.0',
  narHash: Buffer.alloc(32, 1),
  narSize: 1728,
  references: ['44nwbvvb68zcan1542knqkypfs1lhcam-dependency', '384lk96mvl7yxn8zyvl1kwia6zims64v-sample-1.0'],
}
const root = dagPbCid(Buffer.alloc(32, 2))
const nar = dagPbCid(Buffer.alloc(32, 3))
/** By `nix hash to-base32`. */
const narHash = 'sha256:0081040h2081040h2081040h2081040h2081040h2081040h2081'

test('fingerprints are the texts of the format', () => {
  assert.equal(
    fingerprint(path),
    [
      '1',
      '/nix/store/384lk96mvl7yxn8zyvl1kwia6zims64v-sample-1.0',
      narHash,
      '1728',
      '/nix/store/384lk96mvl7yxn8zyvl1kwia6zims64v-sample-1.0,/nix/store/44nwbvvb68zcan1542knqkypfs1lhcam-dependency',
    ].join(';'),
  )
  assert.equal(
    ipfsFingerprint({ ...path, references: [], root, nar }),
    `nix-ipfs-1;/nix/store/384lk96mvl7yxn8zyvl1kwia6zims64v-sample-1.0;${narHash};1728;;${CID.decode(root)};${CID.decode(nar)}`,
  )
})

test('in a fingerprint, a set of references and a CID have one text each', () => {
  const { references } = path
  assert.equal(fingerprint({ ...path, references: [...references, ...references].reverse() }), fingerprint(path))
  const version0 = CID.decode(root).toV0().bytes
  assert.equal(ipfsFingerprint({ ...path, root: version0, nar }), ipfsFingerprint({ ...path, root, nar }))
})

test('a signature over a path vouches for nothing else', () => {
  const key = generateSecretKey('key')
  const signed = { ...path, root, nar }
  const changed: [string, Partial<typeof signed>][] = [
    ['baseName', { baseName: '384lk96mvl7yxn8zyvl1kwia6zims64v-sample-1.1' }],
    ['narHash', { narHash: Buffer.alloc(32, 9) }],
    ['narSize', { narSize: 1729 }],
    ['a reference less', { references: path.references.slice(1) }],
    ['no references', { references: [] }],
  ]
  const changedDags: typeof changed = [
    ['root', { root: dagPbCid(Buffer.alloc(32, 9)) }],
    ['codec of the root', { root: rawCid(Buffer.alloc(32, 2)) }],
    ['nar', { nar: dagPbCid(Buffer.alloc(32, 9)) }],
    ['root and nar swapped', { root: nar, nar: root }],
  ]
  const signature = sign(fingerprint(signed), key)
  const ipfsSignature = sign(ipfsFingerprint(signed), key)
  assert.equal(verify(fingerprint(signed), signature, key.publicKey), true)
  assert.equal(verify(ipfsFingerprint(signed), ipfsSignature, key.publicKey), true)
  for (const [what, change] of changed) {
    assert.equal(verify(fingerprint({ ...signed, ...change }), signature, key.publicKey), false, what)
  }
  for (const [what, change] of [...changed, ...changedDags]) {
    assert.equal(verify(ipfsFingerprint({ ...signed, ...change }), ipfsSignature, key.publicKey), false, what)
  }
  // One kind of signature is none of the other kind.
  assert.equal(verify(fingerprint(signed), ipfsSignature, key.publicKey), false)
  assert.equal(verify(ipfsFingerprint(signed), signature, key.publicKey), false)
})

test('a signature that is altered, cut, of another name or by another key is none', () => {
  const key = generateSecretKey('key')
  const text = fingerprint(path)
  const signature = sign(text, key)
  const bytes = Buffer.from(signature.slice('key:'.length), 'base64')
  assert.equal(verify(text, signature, key.publicKey), true)
  // As in Nix, the padding may be missing.
  assert.equal(verify(text, signature.replaceAll('=', ''), key.publicKey), true)
  for (let bit = 0; bit < bytes.length * 8; bit += 7) {
    const altered = Buffer.from(bytes)
    altered[bit >> 3]! ^= 1 << (bit & 7)
    assert.equal(verify(text, `key:${altered.toString('base64')}`, key.publicKey), false, `bit ${bit}`)
  }
  const malformed = [
    `key:${bytes.subarray(1).toString('base64')}`,
    `key:${Buffer.concat([bytes, bytes]).toString('base64')}`,
    `key:${bytes.toString('hex')}`,
    signature.replace('key:', 'kez:'),
    signature.replace('key:', ':'),
    signature.replace('key:', ''),
    signature.replace('key:', 'key::'),
    signature.replace('key:', 'key: '),
    `${signature}\n`,
    `${signature} `,
    'key:',
    '',
  ]
  for (const wrong of malformed) assert.equal(verify(text, wrong, key.publicKey), false, JSON.stringify(wrong))
  assert.equal(verify(text, signature, generateSecretKey('key').publicKey), false)
})

test('signers counts keys, not names or signatures', () => {
  const [a, b, c] = [generateSecretKey('a'), generateSecretKey('b'), generateSecretKey('a')]
  const text = 'what was signed'
  const alias = { ...a.publicKey, name: 'alias' }
  const aliasSignature = sign(text, { ...a, name: 'alias' })
  const keys = [a.publicKey, alias, b.publicKey, c.publicKey]
  const names = (signatures: string[]) => signers(text, signatures, keys).map(publicKeyText)
  assert.deepEqual(names([]), [])
  assert.deepEqual(names([sign(text, a), aliasSignature, `${sign(text, a).replaceAll('=', '')}`]), [
    publicKeyText(a.publicKey),
  ])
  assert.deepEqual(names([sign(text, b), 'nonsense', sign('other', a), sign(text, c)]), [
    publicKeyText(b.publicKey),
    publicKeyText(c.publicKey),
  ])
  assert.deepEqual(signers(text, [sign(text, a)], []), [])
})

test('every key and every text that it signs reads back', () => {
  const names = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }).filter(isKeyName)
  fc.assert(
    fc.property(names, fc.string({ unit: 'binary' }), (name, text) => {
      const key = parseSecretKey(secretKeyText(generateSecretKey(name)))
      const publicKey = parsePublicKey(publicKeyText(key.publicKey))
      assert.equal(publicKey.name, name)
      const signature = sign(text, key)
      assert.equal(isSignatureText(signature), true)
      assert.equal(verify(text, signature, publicKey), true)
      assert.equal(verify(`${text}.`, signature, publicKey), false)
    }),
    RUNS,
  )
})

test('a list of public keys is separated by white space', () => {
  const keys = ['a', 'b', 'c'].map(name => publicKeyText(generateSecretKey(name).publicKey))
  assert.deepEqual(parsePublicKeys(`  ${keys[0]}\n\t${keys[1]}  ${keys[2]}\n`).map(publicKeyText), keys)
  assert.deepEqual(parsePublicKeys(' \n'), [])
  assert.throws(() => parsePublicKeys(`${keys[0]} ${keys[1]!.slice(0, 30)}`), {
    name: 'FormatError',
    message: /^"b:/,
  })
})

const base64Of = (length: number) => Buffer.alloc(length, 7).toString('base64')

test('what is no public key is refused', () => {
  const wrong = [
    '',
    'name',
    'name:',
    ':',
    `:${base64Of(32)}`,
    base64Of(32),
    `name:${base64Of(31)}`,
    `name:${base64Of(33)}`,
    `name:${base64Of(64)}`,
    `name:${Buffer.alloc(32).toString('hex')}`,
    `name:${Buffer.alloc(32, 0xff).toString('base64url')}`,
    `name:!${base64Of(32)}`,
    `name:${base64Of(32)}\n`,
    ` name:${base64Of(32)}`,
    `na me:${base64Of(32)}`,
    `name: ${base64Of(32)}`,
    `name:${base64Of(32)}=`.replace('==', '==='),
  ]
  for (const text of wrong) assert.throws(() => parsePublicKey(text), FormatError, JSON.stringify(text))
})

test('what is no secret key is refused, and not shown', () => {
  const { publicKey } = generateKeyPairSync('ed25519')
  const good = generateSecretKey('name')
  const text = secretKeyText(good)
  const seed = Buffer.from(text.slice('name:'.length), 'base64').subarray(0, 32)
  const other = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url')
  const wrong = [
    '',
    'name:',
    text.slice('name'.length),
    text.slice('name:'.length),
    text.slice(0, -8),
    `${text.slice(0, -2)}AAAA`,
    `${text}\n`,
    `name:${seed.toString('base64')}`,
    `name:${Buffer.concat([seed, other]).toString('base64')}`,
    `name:${Buffer.concat([other, good.publicKey.bytes]).toString('base64')}`,
    publicKeyText(good.publicKey),
  ]
  for (const text of wrong) {
    assert.throws(
      () => parseSecretKey(text),
      error => {
        assert.ok(error instanceof FormatError)
        assert.ok(!inspect(error).includes(seed.toString('base64').slice(0, 20)), 'the seed is in the error')
        return true
      },
      text.slice(0, 10),
    )
  }
  assert.ok(!inspect(good, { depth: 9, showHidden: true }).includes(seed.toString('base64').slice(0, 20)))
})

test('a key has a name that can stand in a list and before a colon', () => {
  for (const name of ['a', 'cache.example.org-1', 'schlüssel', 'x'.repeat(255)]) {
    assert.equal(isKeyName(name), true, name)
    assert.equal(generateSecretKey(name).name, name)
  }
  for (const name of ['', ' ', 'a b', 'a:b', 'a\n', 'a\u0000', '\u00a0', 'x'.repeat(256)]) {
    assert.equal(isKeyName(name), false, JSON.stringify(name))
    assert.throws(() => generateSecretKey(name), FormatError)
  }
})
