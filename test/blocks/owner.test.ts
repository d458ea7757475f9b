import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { currentOwner, ownerLives } from '../../src/blocks/owner.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { stopProcess } from '../helpers/run.ts'

test('this process is its own owner, and lives', () => {
  const owner = currentOwner()
  assert.equal(owner.pid, process.pid)
  assert.match(owner.startTime, /^\d+$/)
  assert.equal(ownerLives(owner), true)
})

test('a number that another process has now, or had before the last boot, does not live', () => {
  const owner = currentOwner()
  assert.equal(ownerLives({ ...owner, startTime: `${Number(owner.startTime) - 1}` }), false)
  assert.equal(ownerLives({ ...owner, bootId: '00000000-0000-0000-0000-000000000000' }), false)
})

test('a process with parentheses and spaces in its name lives until it ends', async t => {
  // bash's exec -a changes the arguments only; a script named so gets its name into the stat file.
  const child = spawn(process.execPath, [
    '-e',
    'process.title = "a) b (c"; console.log(1); setInterval(() => {}, 1000)',
  ])
  onCleanup(t, () => stopProcess(child))
  await once(child.stdout, 'data')
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'latin1')
  assert.match(stat, /\(a\) b \(c\)/)
  const owner = { ...currentOwner(), pid: child.pid!, startTime: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]! }
  assert.equal(ownerLives(owner), true)
  await stopProcess(child, 'SIGKILL')
  assert.equal(ownerLives(owner), false)
})
