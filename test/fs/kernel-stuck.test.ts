import assert from 'node:assert/strict'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { onCleanup } from '../helpers/cleanup.ts'
import { mountStatus } from '../helpers/control.ts'
import {
  addTo,
  assertAllGone,
  type FailoverFixture,
  failoverFixture,
  mountByKernel,
  serversAt,
  standbyOf,
  takenOver,
  unnoticed,
} from '../helpers/failover.ts'
import { output, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'

describe('a server that is there and does nothing is replaced', () => {
  const scope = suiteScope()
  let fixture: FailoverFixture
  before(async () => {
    fixture = await failoverFixture(scope)
  })

  test('SIGSTOP of the one that serves: readers wait, and notice nothing else', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    await unnoticed(t, fixture, mount, async () => {
      const { pid } = await mountStatus(mount.folder)
      pause(t, pid)
      await until('another one answers', () => serversAt(mount.folder).includes(pid) === false)
      await takenOver(mount.folder, pid)
    })
    assert.match(mount.stderr(), /^nix-ipfs-mount: server \d+: does not answer and was ended; another takes over\n$/)
  })

  test('SIGSTOP of the one that waits: another waits in its place, and the first serves on', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    await unnoticed(t, fixture, mount, async () => {
      const { pid } = await mountStatus(mount.folder)
      const standby = await standbyOf(mount.folder)
      pause(t, standby)
      await until('it is replaced', () => !serversAt(mount.folder).includes(standby))
      await standbyOf(mount.folder)
      const after = await mountStatus(mount.folder)
      assert.deepEqual({ pid: after.pid, restarts: after.restarts }, { pid, restarts: 0 })
    })
    assert.match(
      mount.stderr(),
      /^nix-ipfs-mount: standby server \d+: does not answer and was ended; another is started\n$/,
    )
  })

  test('a thread that is stuck, in a disk that does not answer', async t => {
    // The disk is a mount of ours, whose servers are made to stop.
    const packs = join(fixture.work, 'packs')
    cpSync(join(fixture.state, 'packs'), packs, { recursive: true })
    const diskState = join(fixture.work, 'disk-state')
    const disk = await mountByKernel(t, { state: diskState, args: ['--no-standby'] })
    const state = join(fixture.work, 'stuck-state')
    cpSync(fixture.state, state, { recursive: true })
    const onDisk = `${disk.folder}/${await addTo(diskState, packs)}`
    await output('sh', ['-c', 'until test -e "$0"; do sleep 0.05; done', onDisk])
    await output('mount', ['--bind', onDisk, join(state, 'packs')])
    const mount = await mountByKernel(t, { state })
    const first = (await mountStatus(mount.folder)).pid
    pause(t, disk.supervisor)
    for (const server of serversAt(disk.folder)) pause(t, server)
    const reading = run('cat', [`${mount.folder}/${fixture.baseName}/large`], { timeout: 120_000 })
    await takenOver(mount.folder, first)
    assert.match(mount.stderr(), /a thread has been at one request for 10 s; another server takes over/)
    for (const pid of [...serversAt(disk.folder), disk.supervisor]) process.kill(pid, 'SIGCONT')
    const { code, stdout, stderr } = await reading
    assert.equal(code, 0, stderr)
    assert.ok(stdout.equals(await output('cat', [join(fixture.tree, 'large')])))
  })

  test('servers that always end right after their start: the mount ends, after a while, and leaves nothing', async t => {
    const mount = await mountByKernel(t, { state: fixture.state, args: ['--no-standby'] })
    const file = `${mount.folder}/${fixture.baseName}/small/1`
    const [ended] = await Promise.all([
      until('the mount ends', () => mount.child.exitCode ?? undefined),
      (async () => {
        while (mount.child.exitCode === null) {
          for (const pid of serversAt(mount.folder)) kill(pid)
          await new Promise(resolve => setTimeout(resolve, 20))
        }
      })(),
    ])
    assert.equal(ended, 1)
    const lines = mount.stderr().trimEnd().split('\n')
    assert.equal(lines.pop(), `nix-ipfs-mount: ${mount.folder}: its server ended again and again right after its start`)
    for (const line of lines) assert.match(line, /^nix-ipfs-mount: server .* ended .*; another takes over$/)
    await assertAllGone(mount.folder)
    assert.match((await run('cat', [file])).stderr, /No such file/)
  })

  test('the same while it starts: one last line, status 1', async t => {
    const folder = tempFolder(t, 'mount')
    const mounting = mountByKernel(t, { state: fixture.state, mountpoint: folder, args: ['--no-standby'] })
    let over = false
    const killing = (async () => {
      while (!over) {
        for (const pid of serversAt(folder)) kill(pid)
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    })()
    await assert.rejects(mounting, /its server ended again and again right after its start$/)
    over = true
    await killing
    await assertAllGone(folder)
  })
})

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

/** Stops a process, which would go on after the test. */
function pause(t: TestContext, pid: number): void {
  process.kill(pid, 'SIGSTOP')
  onCleanup(t, () => {
    try {
      process.kill(pid, 'SIGCONT')
    } catch {
      // It was ended.
    }
  })
}
