import assert from 'node:assert/strict'
import { appendFileSync, chmodSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import { mountStore } from '../helpers/mount.ts'
import { nixStore, sampleClosure } from '../helpers/nix.ts'
import { cleanSettings, cliProgram } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { type AddedLine, assertFailed, infoOne, jsonLines, known, newState, succeeded } from './support.ts'

// `add` of what the local Nix database knows, in a store of this test's own.

const scope = { after }
const nix = nixStore(scope)
const work = tempFolder(scope)
let sample: string
let requisites: string[]

before(async () => {
  sample = (await nix.build(sampleClosure))[0]!
  const keys = [join(work, 'secret'), join(work, 'public')] as const
  await nix.output('nix-store', ['--generate-binary-cache-key', 'test-key-1', ...keys])
  await nix.output('nix', ['store', 'sign', '--key-file', keys[0], sample])
  requisites = (await nix.output('nix-store', ['--query', '--requisites', sample])).toString().trim().split('\n')
})

const add = async (state: string, args: readonly string[]) =>
  jsonLines<AddedLine>(succeeded(await nix.cli(['add', '--json', '--state', state, ...args])))

const nixHash = async (path: string) => (await nix.output('nix-store', ['--query', '--hash', path])).toString().trim()

test('takes the metadata of the Nix database', async t => {
  const state = newState(t)
  const [line] = await add(state, [sample])
  assert.equal(line?.path, sample)
  const [expected] = await nix.info(sample)
  const info = await infoOne(state, sample)
  assert.deepEqual(info.references, [...expected!.references].sort())
  assert.ok(info.references.includes(sample))
  assert.equal(info.references.length, 2)
  assert.equal(info.deriver, expected?.deriver)
  assert.match(info.deriver!, /\.drv$/)
  assert.equal(info.ca, null)
  assert.deepEqual(info.signatures, expected?.signatures)
  assert.equal(info.signatures.length, 1)
  assert.match(info.signatures[0]!, /^test-key-1:/)
  assert.equal(info.narHash, await nixHash(sample))
  assert.equal(info.narSize, expected?.narSize)
  assert.equal(info.trust, 'local')
  assert.deepEqual(await known(state), [basename(sample)])
})

test('gives the bytes that nix-store --dump gives', async t => {
  const state = newState(t)
  await add(state, [sample])
  assert.deepEqual(succeeded(await nix.cli(['nar', '--state', state, sample])), await nix.dump(sample))
})

test('--closure adds all it refers to, references first', async t => {
  const state = newState(t)
  const lines = await add(state, ['--closure', sample])
  const paths = lines.map(({ path }) => path)
  assert.deepEqual([...paths].sort(), [...requisites].sort())
  assert.equal(paths.at(-1), sample)
  assert.ok(lines.every(line => line.new))
  assert.deepEqual((await known(state)).sort(), requisites.map(path => basename(path)).sort())
  const again = await add(state, ['--closure', sample])
  assert.deepEqual(
    again,
    lines.map(line => ({ ...line, new: false })),
  )
})

test('--closure takes a path that is named twice', async t => {
  const state = newState(t)
  await add(state, ['--closure', sample, sample])
  assert.equal((await known(state)).length, requisites.length)
})

test('what nix-store --add made has the trust content', async t => {
  const file = join(work, 'addressed')
  writeFileSync(file, 'addressed by what it holds')
  const path = await nix.add(file)
  const state = newState(t)
  await add(state, [path])
  const [expected] = await nix.info(path)
  const info = await infoOne(state, path)
  assert.equal(info.ca, expected?.ca)
  assert.equal(info.narHash, await nixHash(path))
  assert.equal(info.trust, 'content')
})

test('content-addressed paths of the other methods keep their address, and count as vouched for by the database', async t => {
  const file = join(work, 'addressed-otherwise')
  writeFileSync(file, 'addressed by what it holds')
  const text = ['--eval', '--read-write-mode', '--expr', 'builtins.toFile "text" "some text"']
  const paths = {
    'flat sha256': await nix.addFixed(file, 'sha256', false),
    'flat sha512': await nix.addFixed(file, 'sha512', false),
    'recursive sha1': await nix.addFixed(file, 'sha1', true),
    text: JSON.parse((await nix.output('nix-instantiate', text)).toString()) as string,
  }
  const state = newState(t)
  await add(state, Object.values(paths))
  const trusts: Record<string, string> = {}
  for (const [how, path] of Object.entries(paths)) {
    const [expected] = await nix.info(path)
    const info = await infoOne(state, path)
    assert.ok(info.ca)
    assert.equal(info.ca, expected?.ca)
    assert.equal(info.narHash, await nixHash(path))
    trusts[how] = info.trust
  }
  assert.deepEqual(trusts, Object.fromEntries(Object.keys(paths).map(how => [how, 'local'])))
})

test('store paths and folders come out in the order they were given in', async t => {
  const state = newState(t)
  const file = join(work, 'between')
  writeFileSync(file, 'between')
  const stored = await nix.add(file)
  const lines = await add(state, [sample, file, stored])
  assert.deepEqual(
    lines.map(({ path, new: isNew }) => [path, isNew]),
    [
      [sample, true],
      [stored, true],
      [stored, false],
    ],
  )
})

test('another output under the name of a known path is refused until that is forgotten', async t => {
  const state = newState(t)
  // A build that gives something else each time has one path for all.
  const expression = `derivation {
    name = "impure"; system = builtins.currentSystem; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
    args = [ "-c" "cat /proc/sys/kernel/random/uuid > $out" ];
  }`
  const otherNix = nixStore(t)
  const [path] = await nix.build(expression)
  assert.deepEqual(await otherNix.build(expression), [path])
  const [first] = await add(state, [path!])
  assertFailed(await otherNix.cli(['add', '--state', state, path!]), [path!, first!.narHash, 'forget'])
  assert.equal((await infoOne(state, path!)).narHash, first!.narHash)
  succeeded(await otherNix.cli(['forget', '--state', state, path!]))
  succeeded(await otherNix.cli(['add', '--state', state, path!]))
  assert.notEqual((await infoOne(state, path!)).narHash, first!.narHash)
  assert.deepEqual(succeeded(await otherNix.cli(['nar', '--state', state, path!])), await otherNix.dump(path!))
})

test('a symlink to a store path is taken as that path', async t => {
  const state = newState(t)
  const result = join(work, 'result')
  symlinkSync(sample, result)
  symlinkSync('result', join(work, 'result-2'))
  assert.equal((await add(state, [result]))[0]?.path, sample)
  assert.deepEqual(
    (await add(state, [join(work, 'result-2')])).map(line => [line.path, line.new]),
    [[sample, false]],
  )
})

test('a symlink to a store path that is itself a symlink is taken as that path', async t => {
  const state = newState(t)
  const target = join(work, 'points-to')
  symlinkSync(sample, target)
  const stored = await nix.addPath(target, 'stored-link')
  const result = join(work, 'result-of-link')
  symlinkSync(stored, result)
  assert.equal((await add(state, [stored]))[0]?.path, stored)
  assert.equal((await add(state, [result]))[0]?.path, stored)
})

test('--name makes a content-addressed path of a store path', async t => {
  const state = newState(t)
  const [line] = await add(state, [sample, '--name', 'renamed'])
  assert.equal(line?.path, await nix.addPath(sample, 'renamed'))
  const info = await infoOne(state, line!.path)
  assert.equal(info.trust, 'content')
  assert.deepEqual(info.references, [])
})

test('refuses a path that the Nix database does not have, and adds nothing', async t => {
  const state = newState(t)
  const path = `/nix/store/${'0'.repeat(32)}-nope`
  for (const args of [[path], [sample, path], ['--closure', path]]) {
    assertFailed(await nix.cli(['add', '--state', state, ...args]), [path])
    assert.deepEqual(await known(state), [])
  }
  assert.equal((await add(state, [sample])).length, 1)
})

test('refuses a valid path whose bytes are not its narHash', async t => {
  const state = newState(t)
  const file = join(work, 'to-damage')
  writeFileSync(file, 'as it was')
  const path = await nix.add(file)
  const expected = await nixHash(path)
  const physical = nix.physical(path)
  chmodSync(physical, 0o644)
  appendFileSync(physical, ' and a bit more')
  chmodSync(physical, 0o444)
  const damaged = await nix.cli(['add', '--state', state, path])
  assertFailed(damaged, [path, expected])
  assert.deepEqual(await known(state), [])
  assert.equal((await add(state, [sample]))[0]?.new, true)
  // What is known already is not taken twice, but a damaged path never becomes known either.
  assertFailed(await nix.cli(['add', '--state', state, path]), [path])
  assert.deepEqual(await known(state), [basename(sample)])
})

test('refuses what a mount of ours shows as a store path', async t => {
  const state = newState(t)
  await add(state, [sample])
  const mount = await mountStore(t, { state })
  const source = join(mount.folder, basename(sample))
  const other = newState(t)
  const command = ['add', '--state', other, sample]
  const script = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
  const args = ['-ec', script, 'sh', source, sample, process.execPath, cliProgram, ...command]
  const result = await nix.run('sh', args, { env: cleanSettings() })
  assertFailed(result, [sample, 'nix-ipfs-mount mount'])
  assert.deepEqual(await known(other), [])
})
