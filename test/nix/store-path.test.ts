import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { HashAlgorithm } from '../../src/nix/hash.ts'
import {
  caText,
  fullPath,
  hashPart,
  isBaseName,
  isHashPart,
  isValidName,
  makeFixedOutputPath,
  makeSourcePath,
  makeTextPath,
  nameOf,
  parseCa,
  parseStorePath,
  pathFromCa,
} from '../../src/nix/store-path.ts'
import { type NixStore, nixStore } from '../helpers/nix.ts'
import { randomTree, writeTree } from '../helpers/random-tree.ts'
import { tempFolder } from '../helpers/temp.ts'
import { walkTree } from '../helpers/walk-tree.ts'
import { formatErrorOf, narOf } from './support.ts'

const scope = { after }
const algorithms: HashAlgorithm[] = ['md5', 'sha1', 'sha256', 'sha512']

const digestOf = (algorithm: HashAlgorithm, bytes: Uint8Array) => createHash(algorithm).update(bytes).digest()

describe('computed paths are those of Nix', () => {
  const store: NixStore = nixStore(scope)
  const folder = tempFolder(scope, 'sources')
  const file = join(folder, 'a-File_1.0+x?=y')
  const tree = join(folder, 'tree')
  const contents = Buffer.from('contents of a file\n')
  let fileNar: Buffer
  let treeNar: Buffer

  before(() => {
    writeFileSync(file, contents)
    writeTree(randomTree(3), tree)
    fileNar = narOf(sink => walkTree(file, sink))
    treeNar = narOf(sink => walkTree(tree, sink))
  })

  const source = (name: string, nar: Buffer) =>
    fullPath(makeSourcePath({ name, narHash: digestOf('sha256', nar), references: [], selfReference: false }))

  test('nix-store --add', async () => {
    assert.equal(await store.add(tree), source('tree', treeNar))
    assert.equal(await store.add(file), source('a-File_1.0+x?=y', fileNar))
  })

  test('nix store add-path and add-file', async () => {
    assert.equal(await store.addPath(tree, '.hidden'), source('.hidden', treeNar))
    const added = (await store.output('nix', ['store', 'add-file', '--name', 'flat', file])).toString().trim()
    const digest = digestOf('sha256', contents)
    assert.equal(added, fullPath(makeFixedOutputPath({ name: 'flat', method: 'flat', algorithm: 'sha256', digest })))
  })

  for (const algorithm of algorithms) {
    test(`nix-store --add-fixed ${algorithm}, flat and recursive`, async () => {
      const name = 'a-File_1.0+x?=y'
      for (const method of ['flat', 'recursive'] as const) {
        const digest = digestOf(algorithm, method === 'flat' ? contents : fileNar)
        const computed = makeFixedOutputPath({ name, method, algorithm, digest })
        assert.equal(await store.addFixed(file, algorithm, method === 'recursive'), fullPath(computed))
      }
    })
  }

  test('builtins.toFile, with and without references', async () => {
    const expression = `
      let
        a = builtins.toFile "a" "one";
        b = builtins.toFile "b" "two";
      in { inherit a b; c = builtins.toFile "c.txt" "\${b} \${a}"; }`
    const evaluated = await store.output('nix-instantiate', [
      ...['--eval', '--strict', '--json', '--read-write-mode', '-E', expression],
    ])
    const made = JSON.parse(evaluated.toString())
    const text = (name: string, bytes: string, references: string[]) =>
      makeTextPath({ name, digest: digestOf('sha256', Buffer.from(bytes)), references })
    const a = text('a', 'one', [])
    const b = text('b', 'two', [])
    assert.equal(made.a, fullPath(a))
    assert.equal(made.b, fullPath(b))
    const both = `${fullPath(b)} ${fullPath(a)}`
    assert.equal(made.c, fullPath(text('c.txt', both, [a, b])))
    assert.equal(made.c, fullPath(text('c.txt', both, [b, a])), 'references are sorted')
  })

  test('every content-addressed path of a store, by its content address and references', async () => {
    // A derivation whose output is content-addressed, and refers to itself and to another path.
    await store.build(`
      let
        make = name: script: derivation {
          inherit name;
          system = builtins.currentSystem;
          builder = "/bin/sh";
          args = [ "-c" script ];
          __contentAddressed = true;
          outputHashMode = "recursive";
          outputHashAlgo = "sha256";
        };
        other = make "other" "echo other > $out";
      in make "self" ''echo "$out \${other}" > $out''`)
    const infos = await store.info()
    const kinds = new Set<string>()
    for (const { path, ca, references } of infos) {
      if (ca === undefined) continue
      const baseName = parseStorePath(path)!
      const others = references.map(reference => parseStorePath(reference)!).filter(other => other !== baseName)
      const selfReference = others.length < references.length
      const address = parseCa(ca)!
      assert.equal(pathFromCa(address, nameOf(baseName), others, selfReference), baseName)
      assert.equal(caText(address), ca)
      kinds.add(`${address.method} ${address.algorithm}${selfReference ? ' self' : ''}`)
      if (selfReference) {
        assert.notEqual(pathFromCa(address, nameOf(baseName), others), baseName)
        assert.equal(others.length, 1)
      }
    }
    const expected = [
      ...algorithms.flatMap(algorithm => [`flat ${algorithm}`, `recursive ${algorithm}`]),
      'recursive sha256 self',
      'text sha256',
    ]
    assert.deepEqual([...kinds].sort(), expected.sort())
  })
})

describe('references that Nix has no path for are refused', () => {
  const digest = Buffer.alloc(32)
  const other = `${'0'.repeat(32)}-other`
  const cases: [what: string, compute: () => unknown][] = [
    [
      'flat',
      () => makeFixedOutputPath({ name: 'x', method: 'flat', algorithm: 'sha256', digest, references: [other] }),
    ],
    ['recursive sha512', () => pathFromCa({ method: 'recursive', algorithm: 'sha512', digest }, 'x', [other])],
    ['flat, itself', () => pathFromCa({ method: 'flat', algorithm: 'sha256', digest }, 'x', [], true)],
    ['text, itself', () => pathFromCa({ method: 'text', algorithm: 'sha256', digest }, 'x', [], true)],
  ]
  for (const [what, compute] of cases) {
    test(what, () => assert.match(formatErrorOf(compute), /^x: .* cannot/))
  }
})

describe('content addresses', () => {
  const nix32 = '1lr187v6dck1rjh2j6svpikcfz53wyl3qrlcbb405zlh13x0khhh'

  test('of kinds that are not recomputed are no error', () => {
    assert.equal(parseCa(`fixed:git:sha1:${'0'.repeat(32)}`), undefined)
    assert.equal(parseCa(`fixed:r:blake3:${nix32}`), undefined)
  })

  for (const text of [
    '',
    'fixed',
    nix32,
    `sha256:${nix32}`,
    `fixed:${nix32}`,
    `fixed:sha256:${nix32.slice(1)}`,
    `fixed:x:sha256:${nix32}`,
    `text:r:sha256:${nix32}`,
    `text:sha1:${'0'.repeat(32)}`,
    `source:sha256:${nix32}`,
    `fixed:r:sha256:${nix32}\n`,
  ]) {
    test(`${JSON.stringify(text)} is refused`, () => {
      formatErrorOf(() => parseCa(text))
    })
  }
})

describe('the form of store paths', () => {
  const hash = '0123456789abcdfghijklmnpqrsvwxyz'

  test('names', () => {
    for (const name of ['a', '-', 'hello-2.12.1', 'A+b-c._d?e=f', '.hidden', '...', '.a-b', '..a', 'x'.repeat(211)]) {
      assert.ok(isValidName(name), name)
    }
    for (const name of [
      '',
      '.',
      '..',
      '.-a',
      '..-a',
      '.-',
      '..-',
      'a/b',
      'a b',
      'ä',
      'a\0',
      'a\n',
      'a~',
      'x'.repeat(212),
    ]) {
      assert.ok(!isValidName(name), JSON.stringify(name))
    }
  })

  test('hash parts', () => {
    assert.ok(isHashPart(hash))
    for (const text of ['', hash.slice(1), `${hash}0`, hash.replace('a', 'e'), hash.toUpperCase(), `${hash}\n`]) {
      assert.ok(!isHashPart(text), JSON.stringify(text))
    }
  })

  test('paths', () => {
    const baseName = `${hash}-a-name-1.0`
    assert.equal(hashPart(baseName), hash)
    assert.equal(nameOf(baseName), 'a-name-1.0')
    assert.equal(fullPath(baseName), `/nix/store/${baseName}`)
    assert.equal(parseStorePath(baseName), baseName)
    assert.equal(parseStorePath(fullPath(baseName)), baseName)
    assert.ok(isBaseName(baseName))
    for (const text of [
      '',
      hash,
      `${hash}-`,
      `${hash}_a`,
      `${hash}-..`,
      `${hash}-a/b`,
      `/nix/store/${hash}-a/b`,
      `/nix/store/${hash}-a/`,
      `/nix/store//${hash}-a`,
      `/nix/store/${hash}`,
      `/gnu/store/${hash}-a`,
      `nix/store/${hash}-a`,
      `${hash.slice(1)}-a`,
      '/nix/store/.links',
    ]) {
      assert.equal(parseStorePath(text), undefined, text)
      assert.ok(!isBaseName(text), text)
    }
  })
})
