import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { StateError } from '../../src/errors.ts'
import { openStateFolder } from '../../src/store/state.ts'
import { tempFolder } from '../helpers/temp.ts'

function refused(folder: string, blocks: string | undefined, ...says: string[]): void {
  assert.throws(
    () => openStateFolder(folder, blocks),
    (error: unknown) =>
      error instanceof StateError &&
      [folder, ...says].every(part => error.message.includes(part)) &&
      !error.message.includes('\n'),
  )
}

test('a state folder is made once and found again', t => {
  const folder = join(tempFolder(t), 'a', 'b')
  const made = openStateFolder(folder, 'local')
  assert.deepEqual(made, { folder, blocks: 'local', index: join(folder, 'index'), packs: join(folder, 'packs') })
  const format = readFileSync(join(folder, 'format'), 'utf8')
  assert.deepEqual(JSON.parse(format), { format: 'nix-ipfs-mount-state', version: 1, blocks: 'local' })
  assert.deepEqual(openStateFolder(folder, 'local'), made)
  assert.equal(readFileSync(join(folder, 'format'), 'utf8'), format)
  assert.deepEqual(readdirSync(folder).sort(), ['format', 'index', 'packs'])
})

test('the block store is fixed at first use', t => {
  const folder = join(tempFolder(t), 'state')
  openStateFolder(folder, 'local')
  refused(folder, 'kubo:http://127.0.0.1:5001', 'local')
  assert.equal(openStateFolder(folder, 'local').blocks, 'local')
})

test('what a crash leaves of a state that was being made is taken up', t => {
  const folder = tempFolder(t)
  mkdirSync(join(folder, 'packs'))
  writeFileSync(join(folder, 'format.12345'), '{"format":')
  assert.equal(openStateFolder(folder, 'local').blocks, 'local')
  assert.equal(JSON.parse(readFileSync(join(folder, 'format'), 'utf8')).version, 1)
})

test('what is not ours is refused and left as it was', t => {
  const folder = tempFolder(t)
  writeFileSync(join(folder, 'diary'), 'private')
  refused(folder, 'local', 'diary')
  assert.deepEqual(readdirSync(folder), ['diary'])

  const dangling = join(tempFolder(t), 'dangling')
  symlinkSync('nowhere/at/all', dangling)
  refused(dangling, 'local')

  const file = join(tempFolder(t), 'file')
  writeFileSync(file, '')
  refused(file, 'local')
  refused(join(file, 'below'), 'local')
})

test('another format, a newer version and damage are told apart', t => {
  const folder = join(tempFolder(t), 'state')
  openStateFolder(folder, 'local')
  const format = join(folder, 'format')
  const write = (value: unknown) => writeFileSync(format, typeof value === 'string' ? value : JSON.stringify(value))
  const good = { format: 'nix-ipfs-mount-state', version: 1, blocks: 'local' }
  for (const version of [2, 1000]) {
    write({ ...good, version })
    refused(folder, 'local', 'newer', `${version}`)
  }
  for (const bad of [
    '',
    '{',
    'null',
    '[]',
    { ...good, format: 'x' },
    { ...good, version: '1' },
    { ...good, blocks: 1 },
  ]) {
    write(bad)
    refused(folder, 'local', 'not a state folder')
  }
  write({ ...good, more: 'than is known' })
  assert.equal(openStateFolder(folder, 'local').blocks, 'local')
})
