import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { tempFolder } from '../helpers/temp.ts'
import { anonymousBytes, start } from './processes.ts'
import { known, newState, patterned } from './support.ts'

// Memory does not grow with what is added: users rely on this bound on machines that have little.

const LIMIT = 150 * 1024 * 1024
const MIB = 1024 * 1024

/** Runs the program to its end and gives the most anonymous memory that was seen, in bytes. */
async function peakOf(t: TestContext, args: readonly string[]): Promise<number> {
  const { child, ended } = start(t, args)
  child.stdin.end()
  child.stdout.removeAllListeners('data').resume()
  let peak = 0
  const timer = setInterval(() => {
    peak = Math.max(peak, anonymousBytes(child.pid!))
  }, 5)
  const { code, stderr } = await ended
  clearInterval(timer)
  assert.equal(stderr, '')
  assert.equal(code, 0)
  assert.ok(peak > 0)
  t.diagnostic(`${Math.round(peak / MIB)} MiB`)
  return peak
}

test('a file of 300 MB is added, and read again, within 150 MiB', async t => {
  const state = newState(t)
  const large = join(tempFolder(t), 'large')
  const fd = openSync(large, 'w')
  const chunk = patterned(4 * MIB)
  for (let i = 0; i < 75; i++) {
    // No chunk equals another, so each is stored.
    for (let at = 0; at < chunk.length; at += MIB) chunk.writeUInt32LE(i, at + 16)
    writeSync(fd, chunk)
  }
  closeSync(fd)
  assert.ok((await peakOf(t, ['add', '--state', state, large])) < LIMIT)
  const [path] = await known(state)
  assert.ok((await peakOf(t, ['nar', '--state', state, path!])) < LIMIT)
})

test('20,000 small files are added within 150 MiB', async t => {
  const state = newState(t)
  const folder = join(tempFolder(t), 'many')
  for (let i = 0; i < 20_000; i++) {
    const sub = join(folder, `${i % 100}`)
    if (i < 100) mkdirSync(sub, { recursive: true })
    writeFileSync(join(sub, `file-number-${i}`), `this is file number ${i} of many\n`.repeat(1 + (i % 20)))
  }
  assert.ok((await peakOf(t, ['add', '--state', state, folder])) < LIMIT)
})
