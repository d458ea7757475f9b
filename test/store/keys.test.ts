import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { FormatError, RefusedError, StateError } from '../../src/errors.ts'
import { parsePublicKey, publicKeyText, secretKeyText, sign, verify } from '../../src/nix/signature.ts'
import { generateStateKey, keyFile, readSecretKey, readStateKey } from '../../src/store/keys.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { output, stopProcess } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'

const PROCESSES = 6
const KEYS_MODULE = new URL('../../src/store/keys.js', import.meta.url).href
const SIGNATURE_MODULE = new URL('../../src/nix/signature.js', import.meta.url).href

test('a key is made once, and read again', t => {
  const state = tempFolder(t)
  assert.equal(readStateKey(state), undefined)
  const key = generateStateKey(state, 'cache.example.org-1')
  const read = readStateKey(state)!
  assert.equal(read.name, 'cache.example.org-1')
  assert.equal(publicKeyText(read.publicKey), publicKeyText(key.publicKey))
  assert.equal(verify('text', sign('text', read), key.publicKey), true)
  assert.deepEqual(readdirSync(state), ['secret-key'])

  const before = readFileSync(keyFile(state))
  assert.throws(
    () => generateStateKey(state, 'another-1'),
    error => error instanceof RefusedError && error.message.startsWith(`${keyFile(state)}: there is a key already`),
  )
  assert.deepEqual(readFileSync(keyFile(state)), before)
  assert.deepEqual(readdirSync(state), ['secret-key'])
})

test('the file is what Nix reads, and Nix writes what is read here', async t => {
  const state = tempFolder(t)
  const key = generateStateKey(state, 'ours-1')
  assert.equal(readFileSync(keyFile(state), 'utf8'), secretKeyText(key))
  const nix = ['--extra-experimental-features', 'nix-command', 'key', 'convert-secret-to-public']
  const publicKey = await output('nix', nix, { input: readFileSync(keyFile(state)) })
  assert.equal(publicKey.toString().trim(), publicKeyText(key.publicKey))

  const [secret, open] = [join(state, 'secret'), join(state, 'public')]
  await output('nix-store', ['--generate-binary-cache-key', 'theirs-1', secret, open])
  assert.equal(publicKeyText(readSecretKey(secret)!.publicKey), readFileSync(open, 'utf8'))
  // As an editor leaves it.
  writeFileSync(secret, `${readFileSync(secret, 'utf8')}\n`)
  assert.equal(readSecretKey(secret)?.name, 'theirs-1')
})

test('only the owner may read it, whatever the umask', t => {
  const old = process.umask()
  onCleanup(t, () => process.umask(old))
  for (const umask of [0, 0o077, 0o777]) {
    const state = tempFolder(t)
    process.umask(umask)
    generateStateKey(state, 'key')
    process.umask(old)
    assert.equal(statSync(keyFile(state)).mode & 0o7777, 0o600, `umask ${umask.toString(8)}`)
  }
})

test('where several processes make it at once, one does', async t => {
  const script = `
    import { generateStateKey, readStateKey } from ${JSON.stringify(KEYS_MODULE)}
    import { publicKeyText } from ${JSON.stringify(SIGNATURE_MODULE)}
    const [name, ...states] = process.argv.slice(1)
    process.stdin.once('data', () => {
      const said = states.map(state => {
        try {
          return publicKeyText(generateStateKey(state, name).publicKey)
        } catch (error) {
          // Whoever loses finds the winner's key whole.
          return error.code + ' ' + publicKeyText(readStateKey(state).publicKey)
        }
      })
      process.stdout.write(said.join('\\n') + '\\n', () => process.exit())
    })
    process.stdout.write('ready\\n')
  `
  const folder = tempFolder(t)
  const states = Array.from({ length: 20 }, (_, i) => join(folder, `state-${i}`))
  for (const state of states) mkdirSync(state)
  const children = Array.from({ length: PROCESSES }, (_, i) => {
    const args = ['--input-type=module', '--eval', script, '--', `key-${i}`, ...states]
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    onCleanup(t, () => stopProcess(child, 'SIGKILL'))
    return child
  })
  const ready = children.map(child => new Promise<void>(resolve => child.stdout.once('data', () => resolve())))
  await Promise.all(ready)
  const outputs = children.map(async child => {
    let text = ''
    child.stdin.end('go\n')
    for await (const chunk of child.stdout) text += chunk
    return text.trim().split('\n')
  })
  const said = await Promise.all(outputs)
  for (const [i, state] of states.entries()) {
    const lines = said.map(lines => lines[i]!)
    const winners = lines.filter(line => !line.startsWith('ERR_REFUSED '))
    assert.equal(winners.length, 1, lines.join(', '))
    assert.ok(lines.every(line => line.endsWith(winners[0]!)))
    assert.equal(publicKeyText(readStateKey(state)!.publicKey), publicKeyText(parsePublicKey(winners[0]!)))
    assert.deepEqual(readdirSync(state), ['secret-key'])
  }
})

test('what an interrupted attempt left does not matter', t => {
  const state = tempFolder(t)
  writeFileSync(join(state, 'secret-key.0123456789abcdef'), 'half a k')
  assert.equal(readStateKey(state), undefined)
  generateStateKey(state, 'key')
  assert.equal(readStateKey(state)?.name, 'key')
})

test('whatever has the name of the file is left alone', t => {
  const folder = tempFolder(t, 'key-folder')
  mkdirSync(keyFile(folder))
  assert.throws(() => generateStateKey(folder, 'key'), RefusedError)
  assert.throws(() => readStateKey(folder), StateError)
  const link = tempFolder(t, 'key-link')
  symlinkSync(join(link, 'elsewhere'), keyFile(link))
  assert.throws(() => generateStateKey(link, 'key'), RefusedError)
  assert.deepEqual(readdirSync(link), ['secret-key'])
})

test('a full disk leaves nothing, and space makes it work', t => {
  const state = tempFolder(t)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'none', state])
  const filler = join(state, 'filler')
  assert.throws(() => writeFileSync(filler, Buffer.alloc(64 * 1024)), { code: 'ENOSPC' })
  assert.throws(
    () => generateStateKey(state, 'key'),
    error => error instanceof StateError && /^[^\n]*cannot be written \(ENOSPC\)$/.test(error.message),
  )
  assert.deepEqual(readdirSync(state), ['filler'])
  rmSync(filler)
  assert.equal(generateStateKey(state, 'key').name, 'key')
})

test('a folder that is not there is an error', t => {
  const state = join(tempFolder(t), 'absent')
  assert.equal(readStateKey(state), undefined)
  assert.throws(
    () => generateStateKey(state, 'key'),
    error => error instanceof StateError && error.message === `${keyFile(state)}: the key cannot be written (ENOENT)`,
  )
})

test('a wrong name makes nothing', t => {
  const state = tempFolder(t)
  for (const name of ['', 'a b', 'a:b', 'a\nb']) assert.throws(() => generateStateKey(state, name), FormatError)
  assert.deepEqual(readdirSync(state), [])
})

test('a damaged file is named, its contents are not shown', t => {
  const state = tempFolder(t)
  const text = secretKeyText(generateStateKey(state, 'key'))
  const flipped = Buffer.from(text.slice('key:'.length), 'base64')
  flipped[5]! ^= 1
  for (const damaged of [
    '',
    text.slice(0, 40),
    text.slice(4),
    `key:${flipped.toString('base64')}`,
    `${text}\n${text}`,
  ]) {
    writeFileSync(keyFile(state), damaged)
    assert.throws(
      () => readStateKey(state),
      error => {
        assert.ok(error instanceof FormatError)
        assert.ok(error.message.startsWith(`${keyFile(state)}: `))
        assert.ok(!error.message.includes(text.slice(20, 40)))
        return true
      },
    )
  }
})
