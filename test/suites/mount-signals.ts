import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { onCleanup } from '../helpers/cleanup.ts'
import { numbers } from '../helpers/mount-fixture.ts'
import { output, stopProcess } from '../helpers/run.ts'
import { until } from '../helpers/until.ts'
import { files, type MissingFiles } from './missing-files.ts'
import type { Shared } from './mount.ts'

const MIB = 1024 * 1024
const KILLED_READERS = 24

/** Signals to who waits for what does not come. */
export function signalTests(shared: Shared, missing: () => MissingFiles): void {
  for (const signal of ['SIGINT', 'SIGKILL'] as const) {
    test(`${signal} ends who waits for a block that does not come; the others go on`, async t => {
      const { mount, path } = await missing().mount(t)
      const { probe } = shared().fixture
      const release = missing().proxy.hold()
      const byPage = [
        spawn('cat', [path.data]),
        spawn('env', [path.program]),
        spawn(probe, ['map', path.library]),
        spawn('sha256sum', [path.small]),
      ]
      const direct = spawn(probe, ['pread', 'direct', path.data])
      direct.stdin.end(`${6 * MIB} 4096\n`)
      for (const child of [...byPage, direct]) onCleanup(t, () => stopProcess(child, 'SIGKILL'))
      // Before they are ended: one that cannot be would be waited for.
      onCleanup(t, release)
      const wanted = [...files.map(name => missing().blocks(name)[0]!), missing().blocks('data')[6]!]
      await until('all wait', () => wanted.every(cid => missing().proxy.blocks.has(cid)))
      // Attributes and names need no block.
      assert.equal(`${await output('stat', ['-c', '%s', path.data])}`, `${missing().bytes('data')}\n`)
      const interrupted = shared().driver.capabilities.interrupts ? [...byPage, direct] : byPage
      for (const child of [...byPage, direct]) child.kill(signal)
      for (const child of interrupted) assert.equal(await endOf(child), signal)
      assert.equal(endedBy(direct), interrupted.includes(direct) ? signal : undefined)
      release()
      assert.equal(await endOf(direct), signal)
      await until('nothing waits', async () => (await mount.status()).inFlight === 0)
      for (const name of files) assert.ok((await output('cat', [path[name]])).equals(missing().contents[name]), name)
      assert.equal(mount.stderr(), '')
    })
  }

  test('a signal ends who waits for attributes, while the server is stopped', async t => {
    const { mount, path } = await missing().mount(t)
    const { pid } = await mount.status()
    process.kill(pid, 'SIGSTOP')
    onCleanup(t, () => process.kill(pid, 'SIGCONT'))
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const child = spawn('stat', [path.small])
      onCleanup(t, () => stopProcess(child, 'SIGKILL'))
      const waits = () => readFileSync(`/proc/${child.pid}/wchan`, 'latin1').includes('request_wait_answer')
      await until('it waits', waits)
      child.kill(signal)
      assert.equal(await endOf(child), signal)
    }
    process.kill(pid, 'SIGCONT')
    assert.equal(`${await output('stat', ['-c', '%s', path.small])}`, `${missing().bytes('small')}\n`)
  })

  test('readers that are killed at any time leave nothing behind', async t => {
    const { mount, path } = await missing().mount(t)
    const { probe } = shared().fixture
    missing().proxy.delay = 40
    const random = numbers(9)
    const commands: [string, ...string[]][] = [
      ['sha256sum', ...files.map(name => path[name])],
      [probe, 'pread', 'direct', path.data],
      [probe, 'mmap', path.data],
      ['env', path.program, 'sum'],
      ['dd', `if=${path.data}`, 'bs=1M', 'iflag=direct', 'status=none'],
      ['tail', '-c', '3000000', path.library],
    ]
    const readers = Array.from({ length: KILLED_READERS }, async (_, i) => {
      const [command, ...args] = commands[i % commands.length]!
      const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'ignore'] })
      onCleanup(t, () => stopProcess(child, 'SIGKILL'))
      child.stdin.on('error', () => {})
      child.stdin.end(Array.from({ length: 40 }, () => `${random(missing().bytes('data'))} 5000\n`).join(''))
      await sleep(random(250))
      child.kill('SIGKILL')
      await endOf(child)
    })
    await Promise.all(readers)
    missing().heal()
    await until('nothing waits', async () => (await mount.status()).inFlight === 0)
    for (const name of files) assert.ok((await output('cat', [path[name]])).equals(missing().contents[name]), name)
    assert.equal(mount.stderr(), '')
  })
}

/** The signal that has ended a process, if one has. */
function endedBy(child: ChildProcess): NodeJS.Signals | undefined {
  return child.signalCode ?? undefined
}

/** The signal that ends a process, or its exit status. */
function endOf(child: ChildProcess): Promise<NodeJS.Signals | number> {
  return until(`process ${child.pid} ends`, () => child.signalCode ?? child.exitCode ?? undefined)
}
