import assert from 'node:assert/strict'
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { MountError } from '../../src/errors.ts'
import { askControl, type ControlHandlers, listenControl, runtimePath } from '../../src/fs/control.ts'
import type { MountStatus } from '../../src/fs/status.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'

const MOUNTPOINT = '/mnt/store'
const NAME = { mountpoint: MOUNTPOINT, state: '/state' }
const LINE_BYTES = 64 * 1024

const status: MountStatus = {
  ...{ pid: 1, version: '1.2.3', since: '2026-01-01T00:00:00.000Z', requests: { LOOKUP: 7 }, messages: 7, misses: 0 },
  ...{ inFlight: 0, bytesRead: 0, fetched: {}, failures: 0, malformed: 0, lastErrors: [], paths: 3 },
  ...{ mountpoint: MOUNTPOINT, state: '/state', driver: 'kernel', supervisor: 2, mounted: '2026-01-01T00:00:00.000Z' },
  ...{ restarts: 0, upgrades: 0, standby: true },
}

interface Fixture {
  folder: string
  path: string
  /** Verbs that were taken. */
  taken: string[]
}

async function listening(
  t: TestContext,
  handlers: Partial<ControlHandlers> = {},
  options: { lineMs?: number } = {},
): Promise<Fixture> {
  const folder = join(tempFolder(t, 'control'), 'run')
  const taken: string[] = []
  const known: ControlHandlers = {
    status: async () => {
      taken.push('status')
      return status
    },
    upgrade: async () => {
      taken.push('upgrade')
    },
    stop: () => taken.push('stop'),
    ...handlers,
  }
  const close = await listenControl(folder, NAME, known, options)
  onCleanup(t, close)
  return { folder, path: runtimePath(folder, MOUNTPOINT, 'sock'), taken }
}

/** An upgrade that takes until it is told to finish. */
function slowUpgrade() {
  let begin!: () => void
  let finish!: () => void
  const began = new Promise<void>(resolve => {
    begin = resolve
  })
  const finished = new Promise<void>(resolve => {
    finish = resolve
  })
  const upgrade = () => {
    begin()
    return finished
  }
  return { upgrade, began, finish }
}

/** All that is answered to these bytes, sent as they are. */
async function say(path: string, ...chunks: (string | Buffer)[]): Promise<string> {
  const socket = createConnection(path)
  // Who is cut off in the middle of what he says may see that as an error.
  socket.on('error', () => {})
  for (const chunk of chunks) await new Promise(resolve => socket.write(chunk, resolve))
  return await text(socket)
}

const refused = `${JSON.stringify({ ...NAME, ok: false, error: 'a line of JSON with one of the verbs status, upgrade, stop is expected' })}\n`
const done = `${JSON.stringify({ ...NAME, ok: true })}\n`

test('the socket has a name of its own for each mount, and is for its owner alone', async t => {
  const { folder, path } = await listening(t)
  assert.equal(path, join(folder, 'd090023ef9562b51.sock'))
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(folder).mode & 0o777, 0o755)
  assert.notEqual(runtimePath(folder, `${MOUNTPOINT}2`, 'sock'), path)
})

test('each verb does its own', async t => {
  const { path, taken } = await listening(t)
  assert.deepEqual(await askControl(path, 'status'), { ...NAME, ok: true, status })
  assert.deepEqual(await askControl(path, 'upgrade'), { ...NAME, ok: true })
  assert.deepEqual(await askControl(path, 'stop'), { ...NAME, ok: true })
  assert.deepEqual(taken, ['status', 'upgrade', 'stop'])
})

test('a verb that fails says why', async t => {
  const upgrade = async () => {
    throw new MountError('the new server does not start')
  }
  const { path } = await listening(t, { upgrade })
  const answer = { ...NAME, ok: false, error: 'the new server does not start' }
  assert.equal(await say(path, '{"verb":"upgrade"}\n'), `${JSON.stringify(answer)}\n`)
  assert.deepEqual(await askControl(path, 'upgrade'), answer)
  assert.deepEqual(await askControl(path, 'status'), { ...NAME, ok: true, status })
})

const badLines: [what: string, line: string | Buffer][] = [
  ['an empty one', ''],
  ['no JSON', 'status'],
  ['half of it', '{"verb":'],
  ['another verb', '{"verb":"destroy"}'],
  ['a verb that is no text', '{"verb":["stop"]}'],
  ['a verb of all objects', '{"verb":"toString"}'],
  ['no verb', '{}'],
  ['no object', 'null'],
  ['a list', '["stop"]'],
  ['a number', '1'],
  ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0x80])],
]
for (const [what, line] of badLines) {
  test(`a bad line is refused, and does nothing: ${what}`, async t => {
    const { path, taken } = await listening(t)
    assert.equal(await say(path, line, '\n'), refused)
    assert.deepEqual(taken, [])
    assert.deepEqual(await askControl(path, 'status'), { ...NAME, ok: true, status })
  })
}

test('a line that comes in pieces, and what follows it on the same connection', async t => {
  const { path, taken } = await listening(t)
  assert.equal(await say(path, '{"ve', 'rb":"st', 'op"', '}\n'), done)
  assert.equal(await say(path, '{"verb":"stop"}\n{"verb":"upgrade"}\n'), done)
  assert.deepEqual(taken, ['stop', 'stop'])
})

test('a line may have 64 KiB, and not one byte more', async t => {
  const { path, taken } = await listening(t)
  const padded = (bytes: number, filler = ' ') => {
    const line = `{"verb":"stop","x":"${filler.repeat((bytes - 22) / Buffer.byteLength(filler))}"}`
    return `${line.padEnd(line.length + bytes - Buffer.byteLength(line))}`
  }
  assert.equal(Buffer.byteLength(padded(LINE_BYTES)), LINE_BYTES)
  assert.equal(await say(path, padded(LINE_BYTES), '\n'), done)
  assert.equal(await say(path, padded(LINE_BYTES + 1), '\n'), refused)
  // Bytes are counted, not characters.
  assert.equal(await say(path, padded(LINE_BYTES + 2, '\u20ac'), '\n'), refused)
  assert.deepEqual(taken, ['stop'])
})

test('more than 64 KiB without an end are not waited for', async t => {
  const { path, taken } = await listening(t)
  assert.equal(await say(path, Buffer.alloc(LINE_BYTES + 1, 'x')), refused)
  assert.deepEqual(taken, [])
})

test('who does not end his line is cut off', async t => {
  const { path, taken } = await listening(t, {}, { lineMs: 100 })
  assert.equal(await say(path, '{"verb":"stop"}'), '')
  assert.equal(await say(path), '')
  assert.deepEqual(taken, [])
  assert.deepEqual(await askControl(path, 'status'), { ...NAME, ok: true, status })
})

test('the limit is for the line: an answer may take longer', async t => {
  const { upgrade, began, finish } = slowUpgrade()
  const { path } = await listening(t, { upgrade }, { lineMs: 20 })
  const upgraded = askControl(path, 'upgrade')
  await began
  // Another one is cut off meanwhile, so more than the limit has passed.
  assert.equal(await say(path, 'x'), '')
  finish()
  assert.deepEqual(await upgraded, { ...NAME, ok: true })
})

test('verbs that come in parallel do not wait for each other', async t => {
  const { upgrade, began, finish } = slowUpgrade()
  const { path, taken } = await listening(t, { upgrade })
  const upgraded = askControl(path, 'upgrade')
  await began
  assert.deepEqual(await Promise.all([askControl(path, 'status'), askControl(path, 'status')]), [
    { ...NAME, ok: true, status },
    { ...NAME, ok: true, status },
  ])
  finish()
  assert.deepEqual(await upgraded, { ...NAME, ok: true })
  assert.deepEqual(taken, ['status', 'status'])
})

test('who leaves before the answer does no harm', async t => {
  const { upgrade, began, finish } = slowUpgrade()
  const { path } = await listening(t, { upgrade })
  const socket = createConnection(path)
  await new Promise(resolve => socket.write('{"verb":"upgrade"}\n', resolve))
  await began
  socket.destroy()
  finish()
  assert.deepEqual(await askControl(path, 'status'), { ...NAME, ok: true, status })
})

test('a socket that a crash left behind is replaced', async t => {
  const folder = tempFolder(t, 'control')
  const path = runtimePath(folder, MOUNTPOINT, 'sock')
  // A process that is killed while it listens leaves its socket.
  const listen = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
  const { signal } = await run(process.execPath, ['-e', listen, path])
  assert.equal(signal, 'SIGKILL')
  assert.ok(existsSync(path))
  assert.equal(await askControl(path, 'status'), undefined)

  const close = await listenControl(folder, NAME, {
    status: async () => status,
    upgrade: async () => {},
    stop: () => {},
  })
  onCleanup(t, close)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.deepEqual(await askControl(path, 'status'), { ...NAME, ok: true, status })
})

test('where nobody listens there is no mount; the socket goes when it is closed', async t => {
  const folder = tempFolder(t, 'control')
  const path = runtimePath(folder, MOUNTPOINT, 'sock')
  assert.equal(await askControl(path, 'status'), undefined)
  const handlers = { status: async () => status, upgrade: async () => {}, stop: () => {} }
  const close = await listenControl(folder, NAME, handlers)
  close()
  assert.equal(existsSync(path), false)
  assert.equal(await askControl(path, 'status'), undefined)
  // Twice is no error.
  close()
})

test('a socket that cannot be made is an error that says where and why', async t => {
  const work = tempFolder(t, 'control')
  const handlers = { status: async () => status, upgrade: async () => {}, stop: () => {} }
  const notFolder = join(work, 'file')
  writeFileSync(notFolder, '')
  const path = runtimePath(notFolder, MOUNTPOINT, 'sock')
  await assert.rejects(listenControl(notFolder, NAME, handlers), {
    name: 'MountError',
    message: `${path}: the control socket cannot be made (EEXIST)`,
  })
  mkdirSync(runtimePath(work, MOUNTPOINT, 'sock'))
  await assert.rejects(listenControl(work, NAME, handlers), MountError)
})

test('one who listens and is no mount of ours is said to be none', async t => {
  const path = join(tempFolder(t, 'control'), 'stranger')
  const answers = ['', 'not JSON\n', '{"ok":true}\n', '"ok"\n']
  const server = createServer(socket => socket.end(answers.shift() ?? ''))
  onCleanup(t, () => server.close())
  await new Promise<void>(resolve => server.listen(path, resolve))
  for (let i = 0; i < 4; i++) assert.equal(await askControl(path, 'status'), undefined)
})
