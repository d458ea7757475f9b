import assert from 'node:assert/strict'
import { chownSync, cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { ask, mountStatus, upgradeMount } from '../helpers/control.ts'
import {
  assertAllGone,
  type FailoverFixture,
  failoverFixture,
  mountByKernel,
  serversAt,
  standbyOf,
  takenOver,
  unnoticed,
} from '../helpers/failover.ts'
import { checkout, cliProgram } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'

describe('another server takes over when it is asked for', () => {
  const scope = suiteScope()
  let fixture: FailoverFixture
  before(async () => {
    fixture = await failoverFixture(scope)
  })

  test('by upgrade, five times', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    await unnoticed(t, fixture, mount, async () => {
      for (let time = 1; time <= 5; time++) {
        const before = await mountStatus(mount.folder)
        await upgradeMount(mount.folder)
        const { pid, restarts, upgrades } = await mountStatus(mount.folder)
        assert.notEqual(pid, before.pid)
        assert.deepEqual({ restarts, upgrades }, { restarts: time, upgrades: time })
      }
    })
    assert.equal(mount.stderr(), '')
  })

  test('by SIGHUP, five times', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    await unnoticed(t, fixture, mount, async () => {
      for (let time = 0; time < 5; time++) {
        const { pid } = await mountStatus(mount.folder)
        process.kill(mount.supervisor, 'SIGHUP')
        await takenOver(mount.folder, pid)
      }
    })
    assert.equal((await mountStatus(mount.folder)).upgrades, 5)
    assert.equal(mount.stderr(), '')
  })

  test('two at once: one is done, the other is told to try again', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    await unnoticed(t, fixture, mount, async () => {
      const answers = await Promise.all([1, 2].map(() => ask(mount.folder, 'upgrade')))
      assert.deepEqual(answers.map(({ ok }) => ok).sort(), [false, true])
      assert.match(answers.find(({ ok }) => !ok)!.error!, /taking over just now; try again/)
    })
    assert.equal((await mountStatus(mount.folder)).upgrades, 1)
  })

  test('the server is killed while the new one starts: that one takes over', async t => {
    const mount = await mountByKernel(t, { state: fixture.state })
    await unnoticed(t, fixture, mount, async () => {
      const { pid } = await mountStatus(mount.folder)
      const upgraded = upgradeMount(mount.folder)
      process.kill(pid, 'SIGKILL')
      await upgraded
    })
    await standbyOf(mount.folder)
  })

  test('a new version is what serves then; one that cannot start leaves the old one serving', async t => {
    const { program, rewrite } = copyOfProgram(t)
    const mount = await mountByKernel(t, { state: fixture.state, program })
    const before = await mountStatus(mount.folder)
    await unnoticed(t, fixture, mount, async () => {
      rewrite('src/cli/fuse-server.js', () => 'this is no program')
      const { ok, error } = await ask(mount.folder, 'upgrade')
      assert.equal(ok, false)
      assert.match(error!, /^server \d+ ended \(status 1\); the server before it goes on$/)
      const after = await mountStatus(mount.folder)
      assert.deepEqual([after.pid, after.restarts, after.upgrades], [before.pid, 0, 0])
    })
    rewrite('src/cli/fuse-server.js', original => original)
    rewrite('package.json', original => original.replace(/"version": "[^"]*"/, '"version": "99.0.0"'))
    await unnoticed(t, fixture, mount, () => upgradeMount(mount.folder))
    assert.equal((await mountStatus(mount.folder)).version, '99.0.0')
    await standbyOf(mount.folder)
  })

  test('a program that is broken when all servers have gone: the mount ends, and leaves nothing', async t => {
    const { program, rewrite } = copyOfProgram(t)
    const mount = await mountByKernel(t, { state: fixture.state, program })
    rewrite('src/cli/fuse-server.js', () => 'this is no program')
    for (const pid of serversAt(mount.folder)) process.kill(pid, 'SIGKILL')
    await until('the mount ends', () => mount.child.exitCode !== null)
    assert.equal(mount.child.exitCode, 1)
    const lines = mount.stderr().trimEnd().split('\n')
    assert.equal(lines.pop(), `nix-ipfs-mount: ${mount.folder}: its server ended again and again right after its start`)
    await assertAllGone(mount.folder)
  })

  test('a new server that says why it cannot serve leaves the old one serving', async t => {
    const { program, rewrite } = copyOfProgram(t)
    const mount = await mountByKernel(t, { state: fixture.state, program })
    const { pid } = await mountStatus(mount.folder)
    // As a version does that does not know the index of this one.
    rewrite('src/index/lmdb.js', original => original.replace('const SCHEMA = 1', 'const SCHEMA = 0'))
    const { ok, error } = await ask(mount.folder, 'upgrade')
    assert.equal(ok, false)
    assert.match(error!, /^server \d+: .*the index has version 1.*; the server before it goes on$/)
    assert.equal((await mountStatus(mount.folder)).pid, pid)
    rewrite('src/index/lmdb.js', original => original)
    await standbyOf(mount.folder)
  })

  test('a program that is not root’s, or is gone, is not started by root', async t => {
    const { program } = copyOfProgram(t)
    const mount = await mountByKernel(t, { state: fixture.state, program })
    const { pid } = await mountStatus(mount.folder)
    chownSync(program, 1234, 1234)
    assert.deepEqual(
      await refusedUpgrade(mount.folder),
      `${program}: is not root's, so it is not started as an upgrade`,
    )
    chownSync(program, 0, 0)
    rmSync(program)
    assert.deepEqual(await refusedUpgrade(mount.folder), `${program}: is gone, so there is nothing to upgrade to`)
    process.kill(mount.supervisor, 'SIGHUP')
    await until('a line says so', () => mount.stderr().includes('there is nothing to upgrade to'))
    const after = await mountStatus(mount.folder)
    assert.deepEqual([after.pid, after.upgrades], [pid, 0])
    assert.ok(serversAt(mount.folder).includes(pid))
  })
})

async function refusedUpgrade(folder: string): Promise<string | undefined> {
  const { ok, error } = await ask(folder, 'upgrade')
  assert.equal(ok, false)
  return error
}

/** The program somewhere else, and how to change a file of it, of its original text. */
function copyOfProgram(t: TestContext) {
  const folder = tempFolder(t, 'program')
  const package_ = join(folder, 'package.json')
  cpSync(join(checkout, 'package.json'), package_)
  cpSync(join(checkout, 'dist', 'src'), join(folder, 'dist', 'src'), { recursive: true })
  symlinkSync(join(checkout, 'node_modules'), join(folder, 'node_modules'))
  return {
    program: join(folder, cliProgram.slice(checkout.length + 1)),
    rewrite: (name: string, change: (original: string) => string) => {
      const below = name === 'package.json' ? name : join('dist', name)
      writeFileSync(join(folder, below), change(readFileSync(join(checkout, below), 'utf8')))
    },
  }
}
