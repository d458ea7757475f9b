import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { onCleanup } from '../helpers/cleanup.ts'
import { mountStatus } from '../helpers/control.ts'
import {
  addTo,
  assertAllGone,
  type FailoverFixture,
  failoverFixture,
  mountByKernel,
  mountLine,
  serversAt,
  takenOver,
  unnoticed,
} from '../helpers/failover.ts'
import { holdOpen } from '../helpers/holder.ts'
import { cleanSettings, cliProgram, output, run, stopProcess } from '../helpers/run.ts'
import { endServers, reapersOf, serversOf } from '../helpers/servers.ts'
import { mountsBelow, tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'

describe('a mount by the kernel driver ends, whatever happens', () => {
  const scope = suiteScope()
  let fixture: FailoverFixture
  before(async () => {
    fixture = await failoverFixture(scope)
  })

  const command = (folder: string, ...args: string[]) => [
    cliProgram,
    folder,
    '--state',
    fixture.state,
    '--driver',
    'kernel',
    ...args,
  ]

  /** Starts it and does not wait until it is mounted. */
  function start(t: TestContext, folder: string, env: NodeJS.ProcessEnv = {}) {
    endServers(t, folder)
    const child = spawn(process.execPath, command(folder), {
      env: { ...process.env, ...cleanSettings(), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    onCleanup(t, () => stopProcess(child, 'SIGKILL'))
    let said = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', chunk => {
        said += chunk
      })
    }
    return { child, said: () => said }
  }

  test('kill -9 of the supervisor', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    process.kill(mount.supervisor, 'SIGKILL')
    await until('it is unmounted', () => mountLine(mount.folder) === undefined)
    await assertAllGone(mount.folder)
  })

  test('the same while a file is open and a process works in a folder there', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    const tree = `${mount.folder}/${fixture.baseName}`
    const holder = await holdOpen(t, fixture.probe, `${tree}/large`, `${tree}/small`)
    process.kill(mount.supervisor, 'SIGKILL')
    await until('it is unmounted', () => mountLine(mount.folder) === undefined)
    await assertAllGone(mount.folder)
    assert.match(await holder.read(), /^(\d+|ENOTCONN|ECONNABORTED|EIO)$/)
  })

  test('kill -9 of all of its processes at once: the next start cleans up', async t => {
    const first = await mountByKernel(t, { state: fixture.state })
    const all = [...reapersOf(first.folder), first.supervisor, ...serversAt(first.folder)]
    assert.equal(all.length, 4)
    for (const pid of all) process.kill(pid, 'SIGKILL')
    await until('all have ended', () => serversAt(first.folder).length === 0)
    const dead = /Transport endpoint is not connected|Software caused connection abort/
    assert.match((await run('stat', ['-f', first.folder])).stderr, dead)
    const second = await mountByKernel(t, { state: fixture.state, mountpoint: first.folder })
    assert.deepEqual(mountsBelow(first.folder), [first.folder])
    assert.equal(`${await output('diff', ['-r', fixture.tree, `${second.folder}/${fixture.baseName}`])}`, '')
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} twice`, async t => {
      const mount = await mountByKernel(t, { state: fixture.state })
      process.kill(mount.supervisor, signal)
      assert.equal(await mount.stop(signal), 0)
      assert.equal(mount.stderr(), '')
      await assertAllGone(mount.folder)
    })

    test(`${signal} while its servers are stopped and somebody waits for them`, async t => {
      const mount = await mountByKernel(t, { state: fixture.state })
      for (const pid of serversAt(mount.folder)) process.kill(pid, 'SIGSTOP')
      const waiting = run('cat', [`${mount.folder}/${fixture.baseName}/large`], { timeout: 30_000 })
      assert.equal(await mount.stop(signal), 0)
      assert.notEqual((await waiting).code, 0)
      await assertAllGone(mount.folder)
    })
  }

  test('SIGTERM at any time while it starts: nothing is left, and it has not failed', async t => {
    for (let delay = 0; delay < 900; delay += 75) {
      const folder = tempFolder(t, 'mount')
      const { child, said } = start(t, folder)
      // Before, it is no more than a program that has not said anything about signals.
      await until('it is at work', () => mountLine(folder) !== undefined || serversOf(folder).length > 0)
      await sleep(delay)
      child.kill('SIGTERM')
      await until('it ends', () => child.exitCode !== null || child.signalCode !== null)
      if (child.signalCode !== 'SIGTERM') assert.equal(child.exitCode, 0, said())
      assert.match(said(), /^(mounted [^\n]*\n)?$/)
      await assertAllGone(folder)
    }
  })

  test('SIGTERM while mount(8) runs: what it mounts is unmounted', async t => {
    const tools = tempFolder(t, 'tools')
    const script = `#!/bin/sh\ntouch "$0.called"\nsleep 1\nPATH='${process.env.PATH}' exec mount "$@"\n`
    writeFileSync(join(tools, 'mount'), script, { mode: 0o755 })
    const folder = tempFolder(t, 'mount')
    const { child, said } = start(t, folder, { PATH: `${tools}:${process.env.PATH}` })
    await until('it is being mounted', () => existsSync(join(tools, 'mount.called')))
    child.kill('SIGTERM')
    await until('it ends', () => child.exitCode !== null)
    assert.deepEqual([child.exitCode, said()], [0, ''])
    // By then a mount(8) that nobody waited for has done it.
    await sleep(1500)
    await assertAllGone(folder)
  })

  test('nobody reads what it says: it goes on, and another server takes over', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    mount.child.stderr!.destroy()
    await unnoticed(t, fixture, mount, async () => {
      for (let kill = 0; kill < 3; kill++) {
        const { pid } = await mountStatus(mount.folder)
        process.kill(pid, 'SIGKILL')
        await takenOver(mount.folder, pid)
      }
    })
    assert.equal(await mount.stop(), 0)
  })

  test('its terminal goes: it goes on, with another server', async t => {
    const folder = tempFolder(t, 'mount')
    endServers(t, folder)
    // script(1) runs it as the leader of a session on a terminal of its own, which goes with it.
    const words = [process.execPath, ...command(folder)].map(word => `'${word}'`).join(' ')
    const terminal = spawn('script', ['-q', '-e', '-c', `exec ${words}`, '/dev/null'], {
      env: { ...process.env, ...cleanSettings(), SHELL: '/bin/sh' },
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    onCleanup(t, () => stopProcess(terminal, 'SIGKILL'))
    await new Promise<void>(resolve => terminal.stdout.on('data', chunk => `${chunk}`.includes('mounted') && resolve()))
    const before = await mountStatus(folder)
    await stopProcess(terminal, 'SIGKILL')
    await takenOver(folder, before.pid)
    const after = await mountStatus(folder)
    assert.deepEqual([after.supervisor, after.upgrades], [before.supervisor, 1])
    // It cannot say so any more.
    process.kill(after.pid, 'SIGKILL')
    await takenOver(folder, after.pid)
    assert.equal(`${await output('diff', ['-r', fixture.tree, `${folder}/${fixture.baseName}`])}`, '')
    process.kill(before.supervisor, 'SIGTERM')
    await until('it is unmounted', () => mountLine(folder) === undefined)
    await assertAllGone(folder)
  })

  test('the program that needs it is killed', async t => {
    const folder = tempFolder(t, 'bound')
    const child = spawn(
      process.execPath,
      [cliProgram, 'run', '--state', fixture.state, '/bin/sh', '--', '-c', 'echo inside; exec sleep 1000'],
      { env: { ...process.env, ...cleanSettings(), TMPDIR: folder }, stdio: ['ignore', 'pipe', 'inherit'] },
    )
    onCleanup(t, () => stopProcess(child, 'SIGKILL'))
    await new Promise(resolve => child.stdout.once('data', resolve))
    const [mountpoint] = mountsBelow(folder)
    assert.ok(mountpoint !== undefined)
    endServers(t, mountpoint)
    assert.ok(serversAt(mountpoint).length > 0)
    await stopProcess(child, 'SIGKILL')
    await until('it is unmounted', () => mountsBelow(folder).length === 0)
    await assertAllGone(mountpoint)
  })

  test('what a server does not expect: none can serve, and the mount ends with a line', async t => {
    const state = join(fixture.work, 'odd-state')
    await addTo(state, join(fixture.tree, 'large'))
    const mount = await mountByKernel(t, { state })
    renameSync(join(state, 'index'), join(state, 'index-elsewhere'))
    writeFileSync(join(state, 'index'), 'no folder')
    await until('it ends', () => mount.child.exitCode !== null)
    assert.equal(mount.child.exitCode, 1)
    const last = mount.stderr().trimEnd().split('\n').at(-1)!
    assert.ok(last.startsWith(`nix-ipfs-mount: ${mount.folder}: `), mount.stderr())
    await assertAllGone(mount.folder)
  })

  test('its index folder is removed: it ends with a line', async t => {
    const state = join(fixture.work, 'lost-state')
    await addTo(state, join(fixture.tree, 'large'))
    const mount = await mountByKernel(t, { state })
    rmSync(join(state, 'index'), { recursive: true })
    await until('it ends', () => mount.child.exitCode !== null)
    assert.equal(mount.child.exitCode, 1)
    assert.match(mount.stderr(), /^nix-ipfs-mount: [^\n]*the index was replaced [^\n]*\n$/)
    await assertAllGone(mount.folder)
  })

  test('what others have mounted above it, or in its place, stays', async t => {
    const above = await mountByKernel(t, { state: fixture.state })
    await output('mount', ['-t', 'tmpfs', 'none', above.folder])
    assert.equal(await above.stop(), 1)
    assert.match(above.stderr(), /cannot be unmounted: a tmpfs filesystem was mounted above it/)
    assert.equal(mountsBelow(above.folder).length, 2)
    await until('all of its processes end', () => [...serversAt(above.folder), ...reapersOf(above.folder)].length === 0)
    assert.match(mountLine(above.folder)!, /fuse/)
    await output('umount', [above.folder])
    await output('umount', ['-l', above.folder])

    const instead = await mountByKernel(t, { state: fixture.state })
    await output('sh', ['-c', 'umount "$0" && mount -t tmpfs none "$0"', instead.folder])
    await until('it ends', () => instead.child.exitCode !== null)
    assert.equal(instead.child.exitCode, 0)
    assert.match(mountLine(instead.folder)!, / - tmpfs /)
    assert.equal(mountsBelow(instead.folder).length, 1)
  })
})
