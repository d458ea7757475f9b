import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { mountStatus } from '../helpers/control.ts'
import { addTo, mountByKernel, takenOver } from '../helpers/failover.ts'
import type { Mount } from '../helpers/mount.ts'
import { tempInMemory } from '../helpers/mount-fixture.ts'
import { cli, output, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { inMount, suiteScope } from '../suites/mount.ts'

const CONTENT = 'below an overlay\n'

describe('forget where an overlay lies above the mount', () => {
  const scope = suiteScope()
  before(() => tempInMemory(scope))

  /** A mount with one path in it, and a folder to put an overlay on. */
  async function prepared(t: TestContext) {
    const state = join(tempFolder(t, 'state'), 'state')
    const tree = join(tempFolder(t, 'tree'), 'tree')
    mkdirSync(tree)
    writeFileSync(join(tree, 'file'), CONTENT)
    const baseName = await addTo(state, tree)
    const mount = await mountByKernel(t, { state })
    const layers = tempFolder(t, 'layers')
    for (const name of ['upper', 'work', 'merged', 'bound']) mkdirSync(join(layers, name))
    const cover = (lower: string) =>
      output('mount', [
        ...['-t', 'overlay', 'none', '-o'],
        `lowerdir=${lower},upperdir=${layers}/upper,workdir=${layers}/work`,
        join(layers, 'merged'),
      ])
    const forget = (...args: string[]) => cli(['forget', baseName, '--state', state, ...args])
    return { state, tree, baseName, mount, layers, cover, forget, merged: join(layers, 'merged') }
  }

  const gone = (mount: Mount, baseName: string) =>
    until('it is gone', async () => (await run('stat', [inMount(mount, baseName)])).code !== 0)

  test('is refused with the name of the overlay, till that is unmounted', async t => {
    const { baseName, mount, layers, cover, forget, merged } = await prepared(t)
    const bound = join(layers, 'bound')
    await output('mount', ['--bind', mount.folder, bound])
    for (const lower of [mount.folder, `/etc:${mount.folder}`, inMount(mount, baseName), bound]) {
      await cover(lower)
      const { code, stdout, stderr } = await forget()
      assert.deepEqual({ code, stdout: `${stdout}` }, { code: 1, stdout: '' }, lower)
      assert.match(stderr, /^nix-ipfs-mount: [^\n]+\n$/)
      for (const part of [baseName, merged, mount.folder, '--force']) assert.ok(stderr.includes(part), stderr)
      await output('umount', [merged])
    }
    const { code, stderr } = await forget()
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
    await gone(mount, baseName)
  })

  test('is not, of a state that another mount shows', async t => {
    const covered = await prepared(t)
    await covered.cover(covered.mount.folder)
    const other = await prepared(t)
    assert.equal((await other.forget()).code, 0)
  })

  test('with --force it is forgotten: a line says so, and the overlay is never left with ESTALE', async t => {
    const { state, tree, baseName, mount, cover, forget, merged } = await prepared(t)
    await cover(mount.folder)
    const file = join(merged, baseName, 'file')
    assert.equal(`${await output('cat', [file])}`, CONTENT)
    assert.equal((await forget('--force')).code, 0)
    await until('the mount says so', () => mount.stderr() !== '')
    assert.match(
      mount.stderr(),
      /^nix-ipfs-mount: [0-9a-z]{32}-tree: forgotten below the overlay on [^\n]*merged, which may show it till it is mounted again\n$/,
    )
    const { pid } = await mountStatus(mount.folder)
    process.kill(pid, 'SIGKILL')
    await takenOver(mount.folder, pid)
    // It goes on with what it knew, and knows it again when the path has come back.
    assert.equal(`${await output('stat', ['-c', '%F', join(merged, baseName)])}`.trim(), 'directory')
    assert.equal(await addTo(state, tree), baseName)
    await until('it is back', async () => (await run('cat', [file])).code === 0)
    assert.equal(`${await output('cat', [file])}`, CONTENT)
  })
})
