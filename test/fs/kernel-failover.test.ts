import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { onCleanup } from '../helpers/cleanup.ts'
import { mountStatus } from '../helpers/control.ts'
import {
  type FailoverFixture,
  failoverFixture,
  MANY_ENTRIES,
  mountByKernel,
  mountLine,
  serversAt,
  standbyOf,
  takenOver,
  unnoticed,
} from '../helpers/failover.ts'
import { cleanSettings, cliProgram, output, run, stopProcess } from '../helpers/run.ts'
import { endServers } from '../helpers/servers.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'

describe('a server that is killed is replaced, and nobody notices', () => {
  const scope = suiteScope()
  let fixture: FailoverFixture
  before(async () => {
    fixture = await failoverFixture(scope)
  })

  test('twenty times, each when the next one is ready', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    const device = await output('stat', ['-c', '%d', mount.folder])
    await unnoticed(t, fixture, mount, async () => {
      for (let kill = 0; kill < 20; kill++) {
        await standbyOf(mount.folder)
        const { pid } = await mountStatus(mount.folder)
        process.kill(pid, 'SIGKILL')
        await takenOver(mount.folder, pid)
      }
    })
    assert.deepEqual(await output('stat', ['-c', '%d', mount.folder]), device)
    const { restarts, upgrades } = await mountStatus(mount.folder)
    assert.deepEqual({ restarts, upgrades }, { restarts: 20, upgrades: 0 })
    const lines = mount.stderr().trimEnd().split('\n')
    assert.equal(lines.length, 20)
    for (const line of lines) assert.match(line, /^nix-ipfs-mount: server \d+ ended \(SIGKILL\); another takes over$/)
  })

  test('while no other is ready', async t => {
    const mount = await mountByKernel(t, { state: fixture.state, args: ['--no-standby'] })
    await unnoticed(t, fixture, mount, async () => {
      for (let kill = 0; kill < 5; kill++) {
        const { pid, standby } = await mountStatus(mount.folder)
        assert.equal(standby, false)
        process.kill(pid, 'SIGKILL')
        await takenOver(mount.folder, pid)
        // It has served for long enough not to be taken for one that cannot start.
        await sleep(1100)
      }
    })
  })

  test('also the one that waits, and both at once', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    await unnoticed(t, fixture, mount, async () => {
      const { pid } = await mountStatus(mount.folder)
      const standby = await standbyOf(mount.folder)
      process.kill(standby, 'SIGKILL')
      await until('another standby', async () => (await standbyOf(mount.folder)) !== standby)
      assert.equal((await mountStatus(mount.folder)).pid, pid)
      assert.equal((await mountStatus(mount.folder)).restarts, 0)

      const both = serversAt(mount.folder)
      assert.equal(both.length, 2)
      for (const server of both) process.kill(server, 'SIGKILL')
      const next = await takenOver(mount.folder, pid)
      assert.ok(!both.includes(next))
      await standbyOf(mount.folder)
    })
  })

  for (const signal of ['SIGSEGV', 'SIGABRT', 'SIGBUS'] as const) {
    test(`by ${signal}, as a crash in native code does`, async t => {
      const mount = await mountByKernel(t, { state: fixture.state })
      await unnoticed(t, fixture, mount, async () => {
        const { pid } = await mountStatus(mount.folder)
        process.kill(pid, signal)
        await takenOver(mount.folder, pid)
      })
    })
  }

  test('in the middle of a listing', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    const many = `${mount.folder}/${fixture.baseName}/many`
    // It asks for a little at a time, and is held up so that the kill comes in between.
    const script =
      'opendir my $d, $ARGV[0] or die; my $n = 0; while (readdir $d) { $n++; select undef, undef, undef, 0.001 } print $n'
    for (let round = 0; round < 3; round++) {
      await standbyOf(mount.folder)
      await output('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches'])
      const listing = run('perl', ['-e', script, many])
      await sleep(300 + 300 * round)
      const { pid } = await mountStatus(mount.folder)
      process.kill(pid, 'SIGKILL')
      const { code, stdout, stderr } = await listing
      assert.equal(code, 0, stderr)
      // With . and ..
      assert.equal(`${stdout}`, `${MANY_ENTRIES + 2}`)
    }
  })

  test('at any time while it starts, also before it has answered INIT', async t => {
    for (let delay = 0; delay < 600; delay += 60) {
      const folder = tempFolder(t, 'mount')
      endServers(t, folder)
      const child = spawn(
        process.execPath,
        [cliProgram, folder, '--state', fixture.state, '--driver', 'kernel', '--no-standby'],
        { env: { ...process.env, ...cleanSettings() }, stdio: ['ignore', 'pipe', 'pipe'] },
      )
      onCleanup(t, () => stopProcess(child, 'SIGKILL'))
      let said = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => (said += chunk))
      const first = await until('its first server starts', () => serversAt(folder)[0])
      await sleep(delay)
      process.kill(first, 'SIGKILL')
      await until(`it is mounted: ${said}`, () => said.includes(`mounted ${folder}`))
      const tree = `${folder}/${fixture.baseName}`
      await takenOver(folder, first)
      assert.equal(`${await output('diff', ['-r', fixture.tree, tree], { timeout: 20_000 })}`, '')
      await stopProcess(child, 'SIGTERM')
      assert.equal(child.exitCode, 0, said)
      assert.equal(mountLine(folder), undefined)
    }
  })

  test('each of two mounts of one state', async t => {
    const mounts = await Promise.all([1, 2].map(() => mountByKernel(t, { state: fixture.state })))
    await unnoticed(t, fixture, mounts[0]!, () =>
      unnoticed(t, fixture, mounts[1]!, async () => {
        for (const { folder } of mounts) {
          const { pid } = await mountStatus(folder)
          process.kill(pid, 'SIGKILL')
          await takenOver(folder, pid)
        }
      }),
    )
    for (const { folder } of mounts) assert.equal((await mountStatus(folder)).restarts, 1)
  })
})
