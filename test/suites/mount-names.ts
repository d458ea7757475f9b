import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { test } from 'node:test'
import { undecodableNames } from '../helpers/mount-fixture.ts'
import { output } from '../helpers/run.ts'
import { inMount, type Shared } from './mount.ts'

export function nameTests(shared: Shared): void {
  /** One line for each path: an errno's name, or what `how` found. */
  const inspect = async (how: string, paths: readonly string[]) => {
    const said = await output(shared().fixture.probe, [how, ...paths])
    return `${said}`.trim().split('\n')
  }

  test('a name that does not exist below a store path is ENOENT', async () => {
    const { mounted } = shared()
    const names = [
      'nothing',
      'bin/nothing',
      'empty-folder/nothing',
      'many/entry-20000',
      'Bin',
      'bin/probe ',
      'bin/prob',
    ]
    // Twice: the second answer may come from a cache.
    const paths = names.flatMap(name => [`${mounted}/${name}`, `${mounted}/${name}`])
    for (const how of ['stat', 'open', 'readlink']) {
      assert.deepEqual(
        await inspect(how, paths),
        paths.map(() => 'ENOENT'),
      )
    }
  })

  test('names of 255 bytes are found; longer ones are ENAMETOOLONG, as everywhere', async () => {
    const { mount, mounted, real } = shared()
    const names = ['a'.repeat(255), '\u20ac'.repeat(85), 'a'.repeat(254), 'a'.repeat(256), '\u20ac'.repeat(86)]
    const found = await inspect(
      'read',
      names.map(name => `${mounted}/names/${name}`),
    )
    const expected = await inspect(
      'read',
      names.map(name => `${real}/names/${name}`),
    )
    assert.deepEqual(found, expected)
    assert.deepEqual(found.slice(2), ['ENOENT', 'ENAMETOOLONG', 'ENAMETOOLONG'])
    const longer = ['x'.repeat(256), 'x'.repeat(1024), 'x'.repeat(1025)].map(name => `${mount.folder}/${name}`)
    assert.deepEqual(
      await inspect('stat', longer),
      longer.map(() => 'ENAMETOOLONG'),
    )
  })

  test('a name below what is no folder is ENOTDIR, as is listing it', async () => {
    const { mounted } = shared()
    assert.deepEqual(await inspect('stat', [`${mounted}/sizes/1/x`, `${mounted}/sizes/1/`]), ['ENOTDIR', 'ENOTDIR'])
    assert.deepEqual(await inspect('listdir', [`${mounted}/sizes/1`, `${mounted}/links/relative`]), [
      'ENOTDIR',
      'ENOTDIR',
    ])
  })

  test('readlink of what is no link is EINVAL, reading a folder EISDIR, a link to itself ELOOP', async () => {
    const { mounted } = shared()
    assert.deepEqual(await inspect('readlink', [`${mounted}/sizes/1`, mounted]), ['EINVAL', 'EINVAL'])
    assert.deepEqual(await inspect('read', [mounted, `${mounted}/links/folder`]), ['EISDIR', 'EISDIR'])
    assert.deepEqual(await inspect('open', [`${mounted}/links/itself`]), ['ELOOP'])
    assert.deepEqual(await inspect('read', [`${mounted}/links/relative`, `${mounted}/links/dangling`]), ['1', 'ENOENT'])
  })

  test('at the root, what is no known store path is ENOENT', async () => {
    const { mount, fixture } = shared()
    const known = basename(fixture.tree)
    const unknown = [
      '0'.repeat(32) + known.slice(32),
      known.slice(0, 32),
      `${known}x`,
      `${known}.drv`,
      known.toUpperCase(),
      known.slice(0, -1),
      // Nix's base 32 has no e, o, t, u.
      `${'e'.repeat(32)}-tree`,
      'tree',
      'nix',
      '.hidden',
      '.links.lock',
      'a name',
      '-',
      '\u{1f600}',
      'x'.repeat(255),
    ]
    const paths = unknown.flatMap(name => [`${mount.folder}/${name}`, `${mount.folder}/${name}`])
    for (const how of ['stat', 'open', 'readlink']) {
      assert.deepEqual(
        await inspect(how, paths),
        paths.map(() => 'ENOENT'),
      )
    }
  })

  test('.links is an empty folder that is answered and not listed', async () => {
    const { mount } = shared()
    const links = `${mount.folder}/.links`
    assert.match((await inspect('stat', [links]))[0]!, /^40555 0 [1-9]/)
    assert.deepEqual(await inspect('listdir', [links]), ['2'])
    assert.deepEqual(await inspect('stat', [`${links}/x`]), ['ENOENT'])
    assert.ok(!(await rawNames(mount.folder)).includes('.links'))
  })

  test('. and .. are listed, once and first', async () => {
    const { mount, mounted } = shared()
    for (const folder of [mount.folder, mounted, `${mounted}/empty-folder`, `${mount.folder}/.links`]) {
      const names = await rawNames(folder)
      assert.deepEqual(names.slice(0, 2), ['.', '..'])
      assert.equal(names.filter(name => name === '.' || name === '..').length, 2)
    }
    assert.deepEqual(await rawNames(`${mounted}/empty-folder`), ['.', '..'])
  })

  test('entries are listed in the order of their bytes', async () => {
    const { mounted } = shared()
    for (const folder of ['', '/names', '/many']) {
      const names = (await rawNames(mounted + folder)).slice(2)
      assert.deepEqual(names, [...names].sort(), 'a character is a byte')
    }
  })

  test('names and targets that are not UTF-8 are right, or an error that is logged where the driver cannot', async () => {
    const { driver, fixture, mount } = shared()
    const mounted = Buffer.from(inMount(mount, fixture.undecodable))
    const real = Buffer.from(fixture.nix.physical(fixture.undecodable))
    const { file, twin, folder, inFolder, linkToBytes, plain } = undecodableNames
    // Arguments of a process are text in Node, so a shell makes the bytes.
    const read = async (program: string, top: Buffer, ...names: Buffer[]) => {
      const path = Buffer.concat([top, ...names.flatMap(name => [Buffer.from('/'), name])])
      const octal = [...path].map(byte => `\\${byte.toString(8).padStart(3, '0')}`).join('')
      // The added letter keeps newlines at the end.
      const script = `${program} "$(printf '${octal}')" 2>&1; echo " status $?"`
      return (await output('sh', ['-c', script])).toString('latin1')
    }
    assert.equal((await rawNames(`${mounted}`)).length, (await rawNames(`${real}`)).length)
    assert.equal(await read('cat', mounted, plain), await read('cat', real, plain))

    const targets: [string, ...Buffer[]][] = [
      ['cat', file],
      ['cat', folder, inFolder],
      ['readlink', linkToBytes],
    ]
    if (driver.capabilities.nonUtf8Names) {
      for (const [program, ...names] of [...targets, ['cat', twin] as const]) {
        assert.equal(await read(program, mounted, ...names), await read(program, real, ...names))
      }
      assert.deepEqual(await rawNames(`${mounted}`), (await rawNames(`${real}`)).sort())
      return
    }
    const already = mount.stderr().length
    for (const [program, ...names] of targets) {
      const said = await read(program, mounted, ...names)
      if (program === 'cat') assert.match(said, /Input\/output error\n status 1\n$/)
      else assert.match(said, /^ status 1\n$/)
    }
    const logged = mount.stderr().slice(already)
    assert.ok(logged.includes(`${basename(fixture.undecodable)}/`), logged)
    assert.match(logged, /not UTF-8/)
    // A name that does not exist, and decodes like one that does.
    const other = Buffer.from(twin.toString().replace('\ufffd', '\xfe'), 'latin1')
    assert.match(await read('cat', mounted, other), /^cat: .*\n status 1\n$/)
    const ofTwin = await read('cat', mounted, twin)
    assert.ok(ofTwin === (await read('cat', real, twin)) || /Input\/output error/.test(ofTwin), ofTwin)
  })

  /** What getdents64 gives, in its order, each byte a character. */
  async function rawNames(folder: string): Promise<string[]> {
    const said = `${await output(shared().fixture.probe, ['entries', folder])}`
    return said
      .trim()
      .split('\n')
      .map(line => Buffer.from(line.split(' ')[2]!, 'hex').toString('latin1'))
  }
}
