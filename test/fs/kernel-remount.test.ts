import assert from 'node:assert/strict'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { mountStatus } from '../helpers/control.ts'
import {
  assertAllGone,
  type FailoverFixture,
  failoverFixture,
  mountByKernel,
  serversAt,
  takenOver,
} from '../helpers/failover.ts'
import { output, run } from '../helpers/run.ts'
import { mountsBelow } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'

const LINE = /: this kernel cannot resend requests \(Linux 6\.9 and newer can\), so it is mounted again$/

describe('on a kernel that cannot resend requests', () => {
  const scope = suiteScope()
  let fixture: FailoverFixture
  before(async () => {
    fixture = await failoverFixture(scope)
  })

  test('a server that is killed leaves an error to who waits for it, and it is mounted again', async t => {
    const mount = await mountByKernel(t, { state: fixture.state, args: ['--no-resend'] })
    const file = `${mount.folder}/${fixture.baseName}/large`
    const { pid, mounted: since } = await mountStatus(mount.folder)
    process.kill(pid, 'SIGSTOP')
    const waiting = run('cat', [file], { timeout: 30_000 })
    await until('it waits', async () => `${await output('sh', ['-c', 'pgrep -fx "cat $0" || true', file])}` !== '')
    process.kill(pid, 'SIGKILL')
    const { code, stderr } = await waiting
    assert.equal(code, 1)
    assert.match(stderr, /Software caused connection abort|Transport endpoint is not connected|Input\/output error/)

    await takenOver(mount.folder, pid)
    assert.equal(`${await output('diff', ['-r', fixture.tree, `${mount.folder}/${fixture.baseName}`])}`, '')
    assert.deepEqual(mountsBelow(mount.folder), [mount.folder])
    const lines = mount.stderr().trimEnd().split('\n')
    assert.match(lines.pop()!, LINE)
    assert.match(lines.join('\n'), /^nix-ipfs-mount: server \d+ ended \(SIGKILL\); another takes over$/)
    const after = await mountStatus(mount.folder)
    assert.equal(after.restarts, 1)
    assert.ok(after.mounted > since, `${after.mounted} is after ${since}`)
    assert.equal(await mount.stop(), 0)
    await assertAllGone(mount.folder)
  })

  test('servers that are killed while it is mounted again: it is mounted in the end', async t => {
    const mount = await mountByKernel(t, { state: fixture.state, args: ['--no-resend'] })
    const { pid } = await mountStatus(mount.folder)
    process.kill(pid, 'SIGKILL')
    let killed = 0
    await until('it was mounted again, and again', () => {
      if (killed < 3) {
        for (const server of serversAt(mount.folder)) {
          process.kill(server, 'SIGKILL')
          killed++
        }
      }
      return killed >= 3
    })
    await takenOver(mount.folder, pid)
    assert.deepEqual(mountsBelow(mount.folder), [mount.folder])
    const tree = join(mount.folder, fixture.baseName)
    assert.equal(`${await output('diff', ['-r', fixture.tree, tree], { timeout: 30_000 })}`, '')
    assert.equal(await mount.stop(), 0)
    await assertAllGone(mount.folder)
  })
})
