import assert from 'node:assert/strict'
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { addOne, assertFailed, done, doneText, newState } from './support.ts'
import { unprivileged } from './unprivileged.ts'

const NIX_PUBLIC = ['--extra-experimental-features', 'nix-command', 'key', 'convert-secret-to-public']

test('key generate makes a key once and prints its public part, as key public does', async t => {
  const state = newState(t)
  const made = await doneText(['key', 'generate', 'cache.example.org-1', '--state', state])
  assert.match(made, /^cache\.example\.org-1:[A-Za-z0-9+/]{43}=\n$/)
  assert.equal(await doneText(['key', 'public', '--state', state]), made)

  const file = join(state, 'secret-key')
  assert.equal(statSync(file).mode & 0o7777, 0o600)
  const secret = readFileSync(file)
  const again = await cli(['key', 'generate', 'cache.example.org-2', '--state', state])
  assertFailed(again, [file, 'there is a key already'])
  assert.deepEqual(readFileSync(file), secret)
  assert.equal(await doneText(['key', 'public', '--state', state]), made)
})

test("the file is a key of Nix's, with the public key that was printed", async t => {
  const state = newState(t)
  const made = await doneText(['key', 'generate', 'nix-1', '--state', state])
  const publicKey = await output('nix', NIX_PUBLIC, { input: readFileSync(join(state, 'secret-key')) })
  assert.equal(publicKey.toString().trim(), made.trim())
})

test('--json gives name and public key', async t => {
  const state = newState(t)
  const made = JSON.parse(await doneText(['key', 'generate', '42', '--json', '--state', state]))
  assert.deepEqual(Object.keys(made), ['name', 'public'])
  assert.equal(made.name, '42')
  assert.match(made.public, /^42:/)
  assert.deepEqual(JSON.parse(await doneText(['key', 'public', '--json', '--state', state])), made)
})

test('key public without a key says how to make one', async t => {
  const state = newState(t)
  assertFailed(await cli(['key', 'public', '--state', state]), [state, 'no key yet', 'key generate NAME'])
})

test('a key goes into a state with paths, which stay, and a state may begin with a key', async t => {
  const file = join(tempFolder(t), 'file')
  writeFileSync(file, 'contents\n')
  const used = newState(t)
  const added = await addOne(used, [file])
  await done(['key', 'generate', 'key', '--state', used])
  assert.equal(await doneText(['cat', added.path, '--state', used]), 'contents\n')
  const fresh = newState(t)
  const made = await doneText(['key', 'generate', 'key', '--state', fresh])
  assert.equal((await addOne(fresh, [file])).path, added.path)
  assert.equal(await doneText(['key', 'public', '--state', fresh]), made)
})

test('two programs that make a key at once: one does, the other says so', async t => {
  const state = newState(t)
  const results = await Promise.all(['a', 'b'].map(name => cli(['key', 'generate', name, '--state', state])))
  const winner = results.find(({ code }) => code === 0)
  const loser = results.find(({ code }) => code !== 0)
  assert.ok(winner && loser)
  assertFailed(loser, ['there is a key already'])
  assert.equal(await doneText(['key', 'public', '--state', state]), winner.stdout.toString())
  assert.deepEqual(
    readdirSync(state).filter(name => name.startsWith('secret-key')),
    ['secret-key'],
  )
})

test('wrong usage', async t => {
  const state = newState(t)
  const wrong: [args: string[], ...says: string[]][] = [
    [[], 'generate or public'],
    [['--json'], 'generate or public'],
    [['list'], 'list'],
    [['generate']],
    [['generate', 'a', 'b'], 'b'],
    [['public', 'a'], 'a'],
    [['generate', ''], '""'],
    [['generate', 'a b'], '"a b"'],
    [['generate', 'a:b'], '"a:b"'],
    [['generate', 'a\nb']],
    [['generate', 'x'.repeat(256)], '255'],
    [['generate', 'a', '--force'], 'force'],
  ]
  const results = await Promise.all(wrong.map(([args]) => cli(['key', ...args, '--state', state])))
  for (const [i, [, ...says]] of wrong.entries()) assertFailed(results[i]!, says, 2)
  assertFailed(await cli(['key', 'public', '--state', state]), ['no key yet'])
})

test('help has examples', async () => {
  for (const command of [['key'], ['key', 'generate'], ['key', 'public']]) {
    assert.match(await doneText([...command, '--help']), /Examples:\n {2}nix-ipfs-mount key /)
  }
})

test('a damaged key, and what is no state, fail with one line', async t => {
  const state = newState(t)
  await done(['key', 'generate', 'key', '--state', state])
  const file = join(state, 'secret-key')
  const secret = readFileSync(file, 'utf8')
  writeFileSync(file, secret.slice(0, 50))
  const result = await cli(['key', 'public', '--state', state])
  assertFailed(result, [file, 'not a secret key'])
  assert.ok(!result.stderr.includes(secret.slice(10, 30)))

  const foreign = tempFolder(t)
  writeFileSync(join(foreign, 'something'), '')
  assertFailed(await cli(['key', 'generate', 'key', '--state', foreign]), [foreign, 'something'])
  assert.deepEqual(readdirSync(foreign), ['something'])
})

test('another user neither reads the key nor makes one', async t => {
  const state = newState(t)
  await done(['key', 'generate', 'key', '--state', state])
  const user = await unprivileged(t)
  assertFailed(await user.cli(['key', 'public', '--state', state]), [state, 'EACCES'])
  const empty = newState(t)
  await done(['ls', '--state', empty])
  chmodSync(empty, 0o755)
  assertFailed(await user.cli(['key', 'generate', 'key', '--state', empty]), [empty, 'EACCES'])
  const own = join(user.home, 'state')
  const made = (await user.cli(['key', 'generate', 'own', '--state', own])).stdout.toString()
  assert.equal((await user.cli(['key', 'public', '--state', own])).stdout.toString(), made)
})
