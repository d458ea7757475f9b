import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { cidText, dagPbCid, identityCid, rawCid, sha256 } from '../../src/cid.ts'
import { FormatError } from '../../src/errors.ts'
import { narHashText, parseHash } from '../../src/nix/hash.ts'
import { type NarInfo, parseNarInfo, printNarInfo } from '../../src/nix/narinfo.ts'
import {
  fingerprint,
  generateSecretKey,
  ipfsFingerprint,
  publicKeyText,
  type SecretKey,
  secretKeyText,
  sign,
} from '../../src/nix/signature.ts'
import { caText, fullPath, hashPart, isBaseName, parseStorePath } from '../../src/nix/store-path.ts'
import { type NixPathInfo, type NixStore, nixStore, sampleClosure } from '../helpers/nix.ts'
import { deriver, lines, reference, text, whole } from './narinfo-example.ts'

const RUNS = { seed: 20260403, numRuns: 300 }

/** What Nix says of a narinfo without a signature by a trusted key. */
const NOT_SIGNED = /not signed by any of the keys/

const scope = { after }
const store: NixStore = nixStore(scope)
/** A built path that refers to itself and to another. */
let sample: string
/** A content-addressed file. */
let source: string

before(async () => {
  ;[sample = ''] = await store.build(sampleClosure)
  const file = join(store.root, 'a source')
  writeFileSync(file, 'contents\n')
  source = await store.addPath(file, 'source')
})

const baseName = (path: string) => parseStorePath(path)!

describe('narinfos that Nix wrote', () => {
  const caches: [label: string, query: (key: string) => string][] = [
    ['xz', () => ''],
    ['none', () => '?compression=none'],
    ['bzip2, signed', key => `?compression=bzip2&secret-key=${key}`],
  ]
  for (const [label, query] of caches) {
    test(`read and print to the byte: ${label}`, async () => {
      const signing = generateSecretKey('cache-1')
      const keyFile = join(store.root, `key of ${label}`.replaceAll(/\W/g, '-'))
      writeFileSync(keyFile, secretKeyText(signing))
      // Two more signatures, so that there are some to sort.
      for (const name of ['z-key', 'a-key']) {
        writeFileSync(`${keyFile}-${name}`, secretKeyText(generateSecretKey(name)))
        await store.output('nix', ['store', 'sign', '-r', '--key-file', `${keyFile}-${name}`, sample])
      }
      const cache = join(store.root, `cache of ${label}`.replaceAll(/\W/g, '-'))
      const to = `file://${cache}${query(keyFile)}`
      await store.output('nix', ['copy', '--to', to, sample, source])
      // These are content-addressed texts.
      await store.output('nix', ['copy', '--to', to, '--derivation', sample])

      const known = new Map((await store.info()).map(info => [info.path, info]))
      const files = readdirSync(cache).filter(name => name.endsWith('.narinfo'))
      assert.equal(files.length, 5)
      for (const file of files) {
        const text = readFileSync(join(cache, file), 'utf8')
        const info = parseNarInfo(text, file)
        assert.equal(printNarInfo(info), text)
        assert.equal(hashPart(info.baseName), file.slice(0, 32))
        assertSame(info, known.get(fullPath(info.baseName))!)
        assert.equal(info.compression, label.split(',')[0])
        const compressed = readFileSync(join(cache, info.url))
        assert.equal(info.fileSize, compressed.length)
        assert.deepEqual(info.fileHash, { algorithm: 'sha256', digest: sha256(compressed) })
      }
    })
  }

  /** The narinfo says what the database says; a cache adds signatures. */
  function assertSame(info: NarInfo, known: NixPathInfo): void {
    assert.deepEqual(
      {
        narHash: narHashText(info.narHash),
        narSize: info.narSize,
        references: info.references.map(fullPath),
        deriver: info.deriver && fullPath(info.deriver),
        ca: info.ca,
      },
      {
        narHash: narHashText(parseHash(known.narHash).digest),
        narSize: known.narSize,
        references: known.references,
        deriver: known.deriver,
        ca: known.ca,
      },
    )
    for (const signature of known.signatures ?? []) assert.ok(info.signatures.includes(signature))
  }
})

describe('narinfos written here, with Nix as the reader', () => {
  const signing = generateSecretKey('ours.example.org-1')
  const tree = dagPbCid(sha256(Buffer.from('the tree')))
  const nar = dagPbCid(sha256(Buffer.from('the NAR DAG')))

  /** A binary cache of the sample and its references: NARs as they are, narinfos printed and signed here. */
  async function writeCache(name: string, key: SecretKey, change: (info: NarInfo) => NarInfo = info => info) {
    const cache = join(store.root, name)
    mkdirSync(join(cache, 'nar'), { recursive: true })
    writeFileSync(join(cache, 'nix-cache-info'), 'StoreDir: /nix/store\n')
    const closure = (await store.output('nix-store', ['--query', '--requisites', sample])).toString().trim().split('\n')
    for (const path of await store.info(...closure)) {
      const bytes = await store.dump(path.path)
      const narHash = sha256(bytes)
      const url = `nar/${narHashText(narHash).slice('sha256:'.length)}.nar`
      writeFileSync(join(cache, url), bytes)
      const unsigned = {
        baseName: baseName(path.path),
        url,
        compression: 'none',
        fileHash: { algorithm: 'sha256', digest: narHash } as const,
        fileSize: bytes.length,
        narHash,
        narSize: bytes.length,
        references: path.references.map(baseName).reverse(),
        deriver: path.deriver && baseName(path.deriver),
        signatures: [] as string[],
        ca: path.ca,
        root: tree,
        nar,
        ipfsSignatures: [] as string[],
      }
      const info = {
        ...unsigned,
        signatures: [sign(fingerprint(unsigned), key)],
        ipfsSignatures: [sign(ipfsFingerprint(unsigned), key)],
      }
      writeFileSync(join(cache, `${hashPart(info.baseName)}.narinfo`), printNarInfo(change(info)))
    }
    return `file://${cache}`
  }

  /** Substitutes the sample into an empty store that trusts the given keys. */
  async function substitute(t: typeof scope, cache: string, publicKeys: string) {
    const fresh = nixStore(t)
    const options = { substituters: cache, 'trusted-public-keys': publicKeys, 'require-sigs': 'true' }
    const args = Object.entries(options).flatMap(([name, value]) => ['--option', name, value])
    return { fresh, result: await fresh.run('nix-store', ['--realise', sample, ...args]) }
  }

  test('Nix substitutes from them where it trusts the key, and has all that they say', async t => {
    const cache = await writeCache('ours', signing)
    const { fresh, result } = await substitute(t, cache, publicKeyText(signing.publicKey))
    assert.equal(result.code, 0, result.stderr)
    assert.deepEqual(await fresh.dump(sample), await store.dump(sample))
    const [here] = await store.info(sample)
    const [there] = await fresh.info(sample)
    assert.deepEqual(
      [there?.narHash, there?.narSize, there?.references, there?.deriver],
      [here?.narHash, here?.narSize, here?.references, here?.deriver],
    )
    assert.ok(there?.signatures?.some(signature => signature.startsWith(`${signing.name}:`)))
  })

  test('Nix refuses them where it does not trust the key', async t => {
    const cache = await writeCache('untrusted', signing)
    const { result } = await substitute(t, cache, publicKeyText(generateSecretKey(signing.name).publicKey))
    assert.notEqual(result.code, 0)
    assert.match(result.stderr, NOT_SIGNED)
  })

  const changes: [string, (info: NarInfo) => NarInfo][] = [
    ['NarSize', info => ({ ...info, narSize: info.narSize + 1 })],
    ['References', info => ({ ...info, references: info.references.slice(1) })],
    ['Sig', info => ({ ...info, signatures: info.ipfsSignatures })],
  ]
  for (const [field, change] of changes) {
    test(`Nix refuses them with another ${field} than was signed`, async t => {
      const cache = await writeCache(`changed-${field}`, signing, info =>
        info.baseName === baseName(sample) ? change(info) : info,
      )
      const { result } = await substitute(t, cache, publicKeyText(signing.publicKey))
      assert.notEqual(result.code, 0)
      assert.match(result.stderr, NOT_SIGNED)
    })
  }
})

const hashParts = fc.stringMatching(/^[0-9abcdfghijklmnpqrsvwxyz]{32}$/)
const names = fc.stringMatching(/^[0-9A-Za-z+\-._?=]{1,20}$/)
const baseNames = fc
  .tuple(hashParts, names)
  .map(parts => parts.join('-'))
  .filter(isBaseName)
const values = fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).filter(value => !value.includes('\n'))
const digests = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(bytes => Buffer.from(bytes))
const keyNames = values.filter(value => !value.includes(':'))
const signatures = fc
  .tuple(keyNames, fc.uint8Array({ minLength: 1, maxLength: 64 }))
  .map(([name, bytes]) => `${name}:${Buffer.from(bytes).toString('base64')}`)
const cids = fc.oneof(
  digests.map(rawCid),
  digests.map(dagPbCid),
  fc.uint8Array({ maxLength: 128 }).map(bytes => identityCid(bytes)),
)
const maybe = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: undefined })

const narInfos: fc.Arbitrary<NarInfo> = fc.record({
  baseName: baseNames,
  url: values,
  compression: values,
  fileHash: maybe(digests.map(digest => ({ algorithm: 'sha256' as const, digest }))),
  fileSize: maybe(fc.maxSafeNat()),
  narHash: digests,
  narSize: fc.maxSafeNat().map(size => Math.max(size, 1)),
  references: fc.array(baseNames, { maxLength: 4 }),
  deriver: maybe(baseNames),
  signatures: fc.array(signatures, { maxLength: 4 }),
  ca: maybe(
    fc
      .tuple(fc.constantFrom('flat' as const, 'recursive' as const, 'text' as const), digests)
      .map(([method, digest]) => caText({ method, algorithm: 'sha256', digest })),
  ),
  root: maybe(cids),
  nar: maybe(cids),
  ipfsSignatures: fc.array(signatures, { maxLength: 4 }),
})

test('what is printed reads back, sorted', () => {
  const sorted = (texts: readonly string[]) =>
    [...new Set(texts)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  fc.assert(
    fc.property(narInfos, info => {
      const printed = printNarInfo(info)
      const read = parseNarInfo(printed)
      assert.deepEqual(read, {
        ...info,
        references: sorted(info.references),
        signatures: sorted(info.signatures),
        ipfsSignatures: sorted(info.ipfsSignatures),
      })
      assert.equal(printNarInfo(read), printed)
    }),
    RUNS,
  )
})

test('a value with a line break is not printed: it would be another field', () => {
  const info = parseNarInfo(whole)
  const wrong: [string, Partial<NarInfo>][] = [
    ['URL', { url: 'x\nNarSize: 1' }],
    ['Compression', { compression: 'none\n' }],
    ['Deriver', { deriver: `${deriver}\nSig: a:AAAA` }],
    ['References', { references: [`${reference}\n`] }],
    ['Sig', { signatures: ['a:AAAA\nCA: x'] }],
    ['CA', { ca: '\n' }],
    ['IPFSSig', { ipfsSignatures: ['a:AAAA\n'] }],
  ]
  for (const [field, change] of wrong) {
    assert.throws(() => printNarInfo({ ...info, ...change }), {
      name: 'FormatError',
      message: new RegExp(` ${field}: `),
    })
  }
})

test('a damaged narinfo is refused or says something that prints', () => {
  const example = text([...lines, `IPFSRoot: ${cidText(dagPbCid(Buffer.alloc(32, 1)))}`, 'IPFSSig: a:AAAA'])
  const damage = fc.record({
    at: fc.nat({ max: example.length }),
    length: fc.nat({ max: 12 }),
    insert: fc.oneof(fc.string({ unit: 'binary', maxLength: 4 }), fc.constantFrom('\n', ':', ': ', '', '0', ' ')),
  })
  fc.assert(
    fc.property(fc.array(damage, { minLength: 1, maxLength: 3 }), damages => {
      let damaged = example
      for (const { at, length, insert } of damages) damaged = damaged.slice(0, at) + insert + damaged.slice(at + length)
      let info: NarInfo
      try {
        info = parseNarInfo(damaged)
      } catch (error) {
        assert.ok(error instanceof FormatError)
        return
      }
      assert.deepEqual(parseNarInfo(printNarInfo(info)), info)
    }),
    { ...RUNS, numRuns: 3000 },
  )
})
