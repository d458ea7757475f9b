import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { FormatError, MissingToolError, type NixIpfsError, UnknownPathError } from '../../src/errors.ts'
import { narHashText } from '../../src/nix/hash.ts'
import { queryValidPaths, type ValidPath } from '../../src/nix/local-store.ts'
import { fullPath, parseStorePath } from '../../src/nix/store-path.ts'
import { type NixStore, nixStore, sampleClosure } from '../helpers/nix.ts'
import { tempFolder } from '../helpers/temp.ts'

const scope = { after }
const base = (path: string) => parseStorePath(path)!

/** Restored after each test, for nix takes the store to ask from it. */
const environment = { ...process.env }
afterEach(() => {
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name]
  Object.assign(process.env, environment)
})

/** The error that a query must end with, one line long. */
async function errorOf(query: Promise<unknown>): Promise<NixIpfsError> {
  const error = await query.then(
    () => assert.fail('did not fail'),
    (error: NixIpfsError) => error,
  )
  assert.doesNotMatch(error.message, /\n/)
  return error
}

describe('a real store', () => {
  const store: NixStore = nixStore(scope)
  let sample: string
  let source: string
  let derivation: string

  before(async () => {
    ;[sample = ''] = await store.build(sampleClosure)
    const file = join(store.root, 'source')
    writeFileSync(file, 'contents\n')
    source = await store.add(file)
    derivation = (await store.output('nix-store', ['--query', '--deriver', sample])).toString().trim()
  })

  beforeEach(() => {
    // A chroot store: the same files and database as in the namespace of the helper.
    process.env.NIX_REMOTE = store.root
    process.env.NIX_CONF_DIR = join(store.root, 'etc')
    process.env.NIX_USER_CONF_FILES = '/dev/null'
  })

  test('says of a path what nix-store says', async () => {
    const [valid, ...more] = await queryValidPaths([sample], { closure: false })
    assert.deepEqual(more, [])
    const query = async (what: string) =>
      (await store.output('nix-store', ['--query', what, sample])).toString().trim().split('\n')
    const references = (await query('--references')).map(base).sort()
    assert.equal(references.length, 2)
    assert.ok(references.includes(base(sample)), 'it refers to itself')
    assert.deepEqual([narHashText(valid!.narHash)], await query('--hash'))
    assert.deepEqual([String(valid!.narSize)], await query('--size'))
    assert.deepEqual(valid!.references, references)
    assert.equal(valid!.deriver, base(derivation))
    assert.equal(valid!.ca, undefined)
    assert.deepEqual(valid!.signatures, [])
    assert.ok(Math.abs(valid!.registrationTime - Date.now() / 1000) < 3600)
    assert.equal((await store.dump(sample)).length, valid!.narSize)
  })

  test('gives a content address and signatures where there are some', async () => {
    const key = (await store.output('nix', ['key', 'generate-secret', '--key-name', 'test-1'])).toString()
    const keyFile = join(store.root, 'key')
    writeFileSync(keyFile, key)
    await store.output('nix', ['store', 'sign', '--key-file', keyFile, source])
    const [valid] = await queryValidPaths([base(source)], { closure: false })
    assert.equal(valid!.ca, `fixed:r:${narHashText(valid!.narHash)}`)
    assert.equal(valid!.signatures.length, 1)
    assert.match(valid!.signatures[0]!, /^test-1:[A-Za-z0-9+/]{86}==$/)
  })

  test('gives a closure, each path once, references first', async () => {
    const paths = await queryValidPaths([source, sample, sample], { closure: true })
    const names = paths.map(valid => valid.baseName)
    const requisites = (await store.output('nix-store', ['--query', '--requisites', sample, source])).toString()
    assert.deepEqual([...names].sort(), requisites.trim().split('\n').map(base).sort())
    assertReferencesFirst(paths)
    // Without closure it is the paths asked for, in the order that they were asked for.
    const alone = await queryValidPaths([source, sample], { closure: false })
    assert.deepEqual(
      alone.map(valid => valid.baseName),
      [source, sample].map(base),
    )
  })

  test('means a derivation by its own path, not its outputs', async () => {
    const paths = await queryValidPaths([derivation, source], { closure: true })
    assertReferencesFirst(paths)
    const names = paths.map(valid => valid.baseName)
    assert.ok(names.includes(base(derivation)))
    assert.ok(names.includes(base(source)))
    assert.ok(!names.includes(base(sample)))
    assert.ok(paths.every(valid => valid.ca !== undefined))
  })

  test('orders a long chain that was asked for backwards', async () => {
    const expression = `
      let chain = n: builtins.toFile "link-\${toString n}" (if n == 0 then "" else chain (n - 1));
      in builtins.genList chain 60`
    const evaluate = ['--eval', '--strict', '--json', '--read-write-mode', '-E', expression]
    const chain: string[] = JSON.parse((await store.output('nix-instantiate', evaluate)).toString())
    assert.deepEqual(
      (await queryValidPaths(chain.toReversed(), { closure: false })).map(valid => fullPath(valid.baseName)),
      chain,
    )
    assertReferencesFirst(await queryValidPaths([chain.at(-1)!], { closure: true }))
  })

  test('asks for many paths in several processes', async () => {
    const expression = 'builtins.genList (n: builtins.toFile "many" (toString n)) 1100'
    const evaluate = ['--eval', '--strict', '--json', '--read-write-mode', '-E', expression]
    const many: string[] = JSON.parse((await store.output('nix-instantiate', evaluate)).toString())
    assert.deepEqual(
      (await queryValidPaths(many, { closure: false })).map(valid => fullPath(valid.baseName)),
      many,
    )
  })

  test('nothing asked for is nothing found', async () => {
    assert.deepEqual(await queryValidPaths([], { closure: true }), [])
  })

  for (const closure of [false, true]) {
    for (const name of ['missing', 'missing.drv']) {
      test(`a path that is not valid is an error: ${name}${closure ? ', with closure' : ''}`, async () => {
        const missing = `/nix/store/${'0'.repeat(32)}-${name}`
        const error = await errorOf(queryValidPaths([sample, missing], { closure }))
        assert.ok(error instanceof UnknownPathError)
        assert.equal(error.message, `${missing}: is not a valid path of the local Nix store`)
      })
    }
  }

  test('what is no store path is never given to nix', async () => {
    for (const text of ['--help', '/nix/store', `${sample}/bin`, 'nixpkgs#hello']) {
      const error = await errorOf(queryValidPaths([text], { closure: false }))
      assert.ok(error instanceof UnknownPathError)
      assert.match(error.message, /is not a store path/)
    }
  })

  test('a store that cannot be opened is said in one line', async () => {
    process.env.NIX_REMOTE = 'unix:///nowhere/socket'
    const error = await errorOf(queryValidPaths([sample], { closure: false }))
    assert.ok(error instanceof MissingToolError)
    assert.match(error.message, /^nix cannot look up store paths: cannot connect to .*\/nowhere\/socket/)
  })
})

function assertReferencesFirst(paths: readonly ValidPath[]): void {
  const seen = new Set<string>()
  for (const { baseName, references } of paths) {
    for (const reference of references) assert.ok(reference === baseName || seen.has(reference), baseName)
    seen.add(baseName)
  }
}

describe('a nix that behaves otherwise', () => {
  const path = `/nix/store/${'0'.repeat(32)}-a`
  const entry = `{"narHash":"sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","narSize":1,"references":[]}`

  /** Puts a shell script in the place of nix. */
  function fakeNix(t: Parameters<typeof tempFolder>[0], script: string): void {
    const folder = tempFolder(t, 'bin')
    writeFileSync(join(folder, 'nix'), `#!/bin/sh\n${script}\n`)
    chmodSync(join(folder, 'nix'), 0o755)
    process.env.PATH = `${folder}${delimiter}${environment.PATH}`
  }

  test('is missing', async t => {
    const folder = tempFolder(t, 'bin')
    mkdirSync(join(folder, 'empty'))
    process.env.PATH = join(folder, 'empty')
    const error = await errorOf(queryValidPaths([path], { closure: false }))
    assert.ok(error instanceof MissingToolError)
    assert.match(error.message, /^nix is not installed \(package nix-bin on Debian\)/)
  })

  test('cannot be started', async t => {
    const folder = tempFolder(t, 'bin')
    writeFileSync(join(folder, 'nix'), 'not a program', { mode: 0o644 })
    process.env.PATH = folder
    const error = await errorOf(queryValidPaths([path], { closure: false }))
    assert.ok(error instanceof MissingToolError)
    assert.match(error.message, /^nix cannot be started \(EACCES\)/)
  })

  test('insists on a format, as later versions will', async t => {
    fakeNix(
      t,
      `case "$*" in
        *--json-format*) echo '{"version":2,"storeDir":"/nix/store","info":{"${path.slice('/nix/store/'.length)}":${entry}}}';;
        *) echo "error: '--json' needs '--json-format'" >&2; exit 1;;
      esac`,
    )
    const [valid] = await queryValidPaths([path], { closure: false })
    assert.equal(valid!.baseName, base(path))
  })

  test('warns but answers', async t => {
    fakeNix(t, `echo "warning: '--json' without '--json-format' is deprecated" >&2; echo '{"${path}":${entry}}'`)
    const [valid] = await queryValidPaths([path], { closure: false })
    assert.equal(valid!.baseName, base(path))
  })

  test('says that the path is not valid by null', async t => {
    fakeNix(t, `echo '{"${path}":null}'`)
    assert.ok((await errorOf(queryValidPaths([path], { closure: false }))) instanceof UnknownPathError)
  })

  test('prints no JSON', async t => {
    fakeNix(t, 'echo hello')
    assert.ok((await errorOf(queryValidPaths([path], { closure: false }))) instanceof FormatError)
  })

  test('fails with colours, context and advice', async t => {
    const red = execFileSync('printf', ['\\033[31;1merror:\\033[0m']).toString()
    fakeNix(
      t,
      `printf '%s\\n' 'warning: something else' '${red} opening lock file: Permission denied' '' '  (advice)' >&2; exit 1`,
    )
    const error = await errorOf(queryValidPaths([path], { closure: false }))
    assert.equal(error.message, 'nix cannot look up store paths: opening lock file: Permission denied')
  })

  test('fails without a word', async t => {
    fakeNix(t, 'kill -9 $$')
    const error = await errorOf(queryValidPaths([path], { closure: false }))
    assert.match(error.message, /^nix cannot look up store paths: it says nothing/)
  })
})
