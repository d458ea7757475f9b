import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { test } from 'node:test'
import { mountStore } from '../helpers/mount.ts'
import { cli, output } from '../helpers/run.ts'
import { isMounted, tempFolder } from '../helpers/temp.ts'
import { inMount, type Shared } from './mount.ts'
import { assertRefused } from './mount-life-cycle.ts'

/** Entries of the tree that are asked for. */
const asked = ['bin', 'bin/probe', 'bin/large', 'sizes/1', 'sizes/3145745', 'empty-file', 'empty-folder', 'links']
const links = ['relative', 'dangling', 'long-4095', 'folder'].map(name => `links/${name}`)

export function xattrTests(shared: Shared): void {
  test('without --xattr, extended attributes are not supported', async () => {
    const { mount, mounted } = shared()
    const paths = [mount.folder, mounted, `${mounted}/bin/probe`, `${mounted}/sizes/1`]
    for (const line of await attributes(paths)) assert.equal(line, 'EOPNOTSUPP EOPNOTSUPP EOPNOTSUPP EOPNOTSUPP')
  })

  test('--xattr shows the CID that ls says, of every kind of entry; a driver that cannot refuses it', async t => {
    const { driver, fixture, state } = shared()
    const folder = tempFolder(t, 'mount')
    const args = [...driver.args, '--xattr']
    if (!driver.capabilities.xattr) {
      assertRefused(await cli([folder, '--state', state, ...args], { timeout: 20_000 }), /--xattr/)
      assert.ok(!isMounted(folder))
      return
    }
    const mount = await mountStore(t, { state, mountpoint: folder, args })
    const list = async (...args: string[]): Promise<{ path: string; name: string; cid: string }[]> =>
      JSON.parse(`${(await cli(['ls', ...args, '--json', '--state', state])).stdout}`)
    const below = new Map((await list(fixture.tree, '-R')).map(({ path, cid }) => [path, cid]))
    const top = new Map((await list()).map(({ name, cid }) => [name, cid]))
    const { tree, file, program, link } = fixture
    const expected = [
      ...[...asked, ...links].map(name => [`${inMount(mount, tree)}/${name}`, below.get(name)] as const),
      ...[tree, file, program, link].map(path => [inMount(mount, path), top.get(basename(path))] as const),
    ]
    const said = await attributes(expected.map(([path]) => path))
    for (const [i, [path, cid]] of expected.entries()) {
      assert.match(cid!, /^baf/)
      assert.equal(said[i], `${cid} 9:ipfs.cid ${cid!.length} ERANGE`, path)
    }
    assert.equal(new Set(expected.map(([, cid]) => cid)).size, expected.length - 1, 'probe and program are equal')
    // The root of the mount and .links are in no path.
    assert.deepEqual(await attributes([folder, `${folder}/.links`]), Array(2).fill('ENODATA 0: ENODATA ENODATA'))
    const copy = tempFolder(t)
    assert.equal(`${await output('cp', ['-a', `${inMount(mount, tree)}/bin`, copy])}`, '')
  })

  const attributes = async (paths: readonly string[]) =>
    `${await output(shared().fixture.probe, ['xattr', ...paths])}`.trim().split('\n')
}
