import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { LmdbIndex } from '../../src/index/lmdb.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { addRandomPath, checkWholePath, openTestState } from '../helpers/index-state.ts'
import { addPath, baseNameOf, directory, file } from '../helpers/index-trees.ts'
import { stopProcess } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'

const writer = fileURLToPath(new URL('../helpers/index-writer.js', import.meta.url))

interface Writer {
  child: ChildProcess
  ready: Promise<unknown>
  /** Base names of the paths that it said are visible. */
  said: string[]
  /** Its exit code and signal, once all that it said was read. */
  ended: Promise<unknown[]>
}

function startWriter(t: TestContext, folder: string, label: string, paths: number): Writer {
  const child = spawn(process.execPath, [writer, folder, label, `${paths}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  onCleanup(t, () => stopProcess(child, 'SIGKILL'))
  const said: string[] = []
  const lines = createInterface({ input: child.stdout! })
  const ready = once(lines, 'line')
  lines.on('line', line => {
    if (line !== 'ready') said.push(line)
  })
  const ended = Promise.all([once(child, 'exit'), once(lines, 'close')]).then(([exit]) => exit)
  return { child, ready, said, ended }
}

test('three processes that create one index and write at once lose nothing', async t => {
  const folder = tempFolder(t, 'state')
  const writers = ['a', 'b', 'c'].map(label => startWriter(t, folder, label, 12))
  for (const { ended } of writers) assert.deepEqual(await ended, [0, null])
  const state = openTestState(folder)
  onCleanup(t, () => state.close())
  const records = [...state.index.paths()]
  assert.deepEqual(
    records.map(({ baseName }) => baseName),
    writers.flatMap(({ said }) => said).sort(),
  )
  assert.equal(records.length, 36)
  let next = 0
  for (const record of records.toSorted((a, b) => a.firstNode - b.firstNode)) {
    assert.ok(record.firstNode >= next, 'runs of ids do not overlap')
    assert.equal(Math.floor(record.firstNode / 2 ** 33), state.index.epoch)
    next = record.firstNode + record.entries
    checkWholePath(state, record)
  }
})

test('the same paths added by two processes at once are there once', async t => {
  const folder = tempFolder(t, 'state')
  const writers = [0, 1].map(() => startWriter(t, folder, 'same', 8))
  for (const { ended } of writers) assert.deepEqual(await ended, [0, null])
  const state = openTestState(folder)
  onCleanup(t, () => state.close())
  const records = [...state.index.paths()]
  assert.deepEqual(
    records.map(({ baseName }) => baseName),
    writers[0]!.said.toSorted(),
  )
  for (const record of records) checkWholePath(state, record)
})

test('after kill -9 at any moment each path is there whole, or not at all', async t => {
  const folder = tempFolder(t, 'state')
  const promised = new Set<string>()
  const checked = new Set<string>()
  let seed = 20240917
  for (let round = 0; round < 20; round++) {
    const { child, ready, said, ended } = startWriter(t, folder, `round ${round}`, 1000)
    await ready
    seed = (seed * 1103515245 + 12345) % 2 ** 31
    while (said.length < round % 3) await wait(1)
    await wait(seed % 60)
    child.kill('SIGKILL')
    await ended
    for (const baseName of said) promised.add(baseName)
    const state = openTestState(folder)
    try {
      const records = [...state.index.paths()]
      for (const record of records) {
        if (checked.has(record.baseName)) continue
        checkWholePath(state, record)
        checked.add(record.baseName)
      }
      const found = new Set(records.map(({ baseName }) => baseName))
      for (const baseName of promised) assert.ok(found.has(baseName), 'what was said to be there stays there')
      // A writer that follows is not held up by what the dead one left.
      promised.add(await addRandomPath(state, `between ${round}`))
    } finally {
      await state.close()
    }
  }
  assert.ok(promised.size >= 39)
})

test('another process is not disturbed by one that is killed while it writes', async t => {
  const folder = tempFolder(t, 'state')
  const survivor = startWriter(t, folder, 'survivor', 15)
  for (let round = 0; round < 4; round++) {
    const victim = startWriter(t, folder, `victim ${round}`, 1000)
    await victim.ready
    await wait(20 + 25 * round)
    victim.child.kill('SIGKILL')
    await victim.ended
  }
  assert.deepEqual(await survivor.ended, [0, null])
  const state = openTestState(folder)
  onCleanup(t, () => state.close())
  for (const record of state.index.paths()) checkWholePath(state, record)
  for (const baseName of survivor.said) assert.ok(state.index.path(baseName))
})

test('what another process has committed is seen after a refresh, without a turn of the event loop', t => {
  const folder = tempFolder(t, 'state')
  const index = LmdbIndex.open(join(folder, 'index'))
  onCleanup(t, () => index.close())
  const before = index.generation()
  const result = spawnSync(process.execPath, [writer, folder, 'other', '1'], { encoding: 'utf8' })
  const baseName = result.stdout.split('\n')[1]!
  assert.equal(baseName, baseNameOf('other 0'))
  index.refresh()
  assert.notEqual(index.generation(), before)
  assert.equal(index.path(baseName)?.baseName, baseName)
})

test('what another has committed is seen after a turn of the event loop, without a refresh', async t => {
  const folder = join(tempFolder(t, 'state'), 'index')
  const [mine, other] = [LmdbIndex.open(folder), LmdbIndex.open(folder)]
  onCleanup(t, () => Promise.all([mine.close(), other.close()]))
  assert.equal(mine.path(baseNameOf(1)), undefined)
  addPath(other, baseNameOf(1), directory({ a: file(1) }))
  await wait(5)
  const record = mine.path(baseNameOf(1))!
  assert.equal(mine.lookup(record.firstNode, Buffer.from('a'))!.size, 1)
  other.forget(baseNameOf(1))
  mine.refresh()
  assert.equal(mine.path(baseNameOf(1)), undefined)
  assert.equal(mine.lookup(record.firstNode, Buffer.from('a')), undefined, 'caches are dropped with the path')
})

test('a thread that never returns to its event loop sees commits and gathers no timers', async t => {
  const folder = join(tempFolder(t, 'state'), 'index')
  const index = LmdbIndex.open(folder)
  onCleanup(t, () => index.close())
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const worker = new Worker(new URL('../helpers/index-thread.js', import.meta.url), {
    workerData: { folder, shared, baseName: baseNameOf(1) },
  })
  onCleanup(t, () => worker.terminate())
  const message = once(worker, 'message')
  while (Atomics.load(shared, 0) === 0) await wait(5)
  addPath(index, baseNameOf(1), directory({ a: file(1) }))
  const [{ timers, rounds }] = await message
  assert.ok(rounds > 10_000 && timers < 50, `${timers} timers after ${rounds} rounds`)
})

test('the files of an index do not grow when paths come and go', t => {
  const folder = join(tempFolder(t, 'state'), 'index')
  const index = LmdbIndex.open(folder)
  onCleanup(t, () => index.close())
  const size = () => statSync(join(folder, 'data.mdb')).size
  const entries = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`name ${i}`, file(i)]))
  let first = 0
  for (let round = 0; round < 12; round++) {
    addPath(index, baseNameOf(1), directory(entries))
    index.forget(baseNameOf(1))
    if (round === 3) first = size()
  }
  assert.ok(size() <= 1.5 * first, `${first} bytes became ${size()}`)
})
