import assert from 'node:assert/strict'
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { holdOpen } from '../helpers/holder.ts'
import { noise } from '../helpers/mount-fixture.ts'
import { cleanSettings, cli, cliProgram, output, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { inMount, type Shared } from './mount.ts'

export function changeTests(shared: Shared): void {
  test('a path added by another process appears, in stat and in the listing', async t => {
    const folder = makeFolder(t, 'appears', 1)
    const path = inMount(shared().mount, await pathOf(folder))
    // A name that was asked for before must not be kept as absent.
    assert.equal(await statOf(path), undefined)
    await add(folder)
    await until(`${path} appears`, async () => (await statOf(path)) !== undefined)
    await until('it is listed', async () => (await listRoot()).includes(basename(path)))
    assert.equal(`${await output('diff', ['-r', folder, path])}`, '')
  })

  test('a path forgotten by another process vanishes, and comes back with the same inode numbers', async t => {
    const folder = makeFolder(t, 'vanishes', 2)
    const path = inMount(shared().mount, await add(folder))
    const appears = async () => (await statOf(path)) !== undefined
    await until(`${path} appears`, appears)
    const before = await inodes(path)
    assert.equal(`${await output('diff', ['-r', folder, path])}`, '')

    await forget(path)
    await until(`${path} vanishes`, async () => !(await appears()))
    await until('it is no longer listed', async () => !(await listRoot()).includes(basename(path)))
    for (const name of ['file', 'folder', 'folder/inside']) assert.equal(await statOf(`${path}/${name}`), undefined)

    await add(folder)
    await until(`${path} comes back`, appears)
    assert.deepEqual(await inodes(path), before)
    assert.equal(`${await output('diff', ['-r', folder, path])}`, '')
  })

  test('a file that is open when its path is forgotten reads right or fails', async t => {
    const { mount, fixture } = shared()
    const folder = makeFolder(t, 'in-use', 3)
    const path = inMount(mount, await add(folder))
    await until(`${path} appears`, async () => (await statOf(path)) !== undefined)
    const holder = await holdOpen(t, fixture.probe, `${path}/file`, `${path}/folder`)
    assert.equal(await holder.read(), `${FILE_BYTES}`)
    await forget(path)
    await until(`${path} vanishes`, async () => (await statOf(path)) === undefined)
    assert.match(await holder.read(), new RegExp(`^(${FILE_BYTES}|ENOENT|ESTALE|EIO)$`))
    await add(folder)
    await until(`${path} comes back`, async () => (await statOf(path)) !== undefined)
    assert.equal(`${await output('diff', ['-r', folder, path])}`, '')
    // Its number means again what it meant.
    assert.equal(await holder.read(), `${FILE_BYTES}`)
    await holder.close()
  })

  test('two adds at once, of trees that share contents, both appear whole', async t => {
    const [first, second] = [makeFolder(t, 'first', 4), makeFolder(t, 'second', 5)]
    cpSync(first, join(second, 'shared'), { recursive: true })
    writeFileSync(join(first, 'only-here'), noise(6, 2 * 1024 * 1024))
    const paths = await Promise.all([first, second].map(async folder => inMount(shared().mount, await add(folder))))
    for (const [i, folder] of [first, second].entries()) {
      const path = paths[i]!
      await until(`${path} appears`, async () => (await statOf(path)) !== undefined)
      assert.equal(`${await output('diff', ['-r', folder, path])}`, '')
    }
  })

  test('a path is added and forgotten over and over while others list and read the root', async t => {
    const { mount, mounted } = shared()
    const folder = makeFolder(t, 'restless', 7)
    const path = inMount(mount, await pathOf(folder))
    const reader = run('sh', [
      '-c',
      'for i in $(seq 200); do ls -l "$0" "$1"; cat "$2"; done',
      mount.folder,
      path,
      `${mounted}/sizes/1`,
    ])
    for (let round = 0; round < 4; round++) {
      await add(folder)
      await until(`${path} appears`, async () => (await statOf(path)) !== undefined)
      await forget(path)
      await until(`${path} vanishes`, async () => (await statOf(path)) === undefined)
    }
    const { stderr } = await reader
    for (const line of stderr.trim().split('\n')) assert.match(line, /^($|.*No such file or directory$)/)
  })

  test('what the mount itself shows at /nix/store, also through an overlay, is not added as the local Nix’s', async t => {
    const { fixture, mount, state } = shared()
    const layers = tempFolder(t, 'layers')
    for (const name of ['upper', 'work']) mkdirSync(join(layers, name))
    symlinkSync(mount.folder, join(layers, 'link'))
    const overlay = (lower: string) =>
      `mount -t overlay -o lowerdir=${lower},upperdir=${layers}/upper,workdir=${layers}/work none /nix/store`
    const covers = [
      `mount --bind ${mount.folder} /nix/store`,
      overlay(mount.folder),
      overlay(`${layers}/link`),
      overlay(`/etc:${mount.folder}`),
    ]
    for (const cover of covers) {
      const script = `${cover} && exec "$@"`
      const args = [process.execPath, cliProgram, 'add', fixture.file, '--state', state]
      const { code, stderr } = await fixture.nix.run('sh', ['-c', script, 'sh', ...args], { env: cleanSettings() })
      assert.equal(code, 1, cover)
      assert.match(stderr, /^nix-ipfs-mount: [^\n]*is served by the nix-ipfs-mount mount at [^\n]*\n$/)
    }
  })

  async function inState(args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await cli([...args, '--state', shared().state])
    assert.equal(code, 0, stderr)
    return `${stdout}`.trim()
  }

  const add = (folder: string) => inState(['add', folder])
  const forget = (path: string) => inState(['forget', basename(path)])

  /** The store path that a folder will get here is the one that Nix gives it. */
  const pathOf = (folder: string) => shared().fixture.nix.add(folder)

  /** Mode, size and inode number, or undefined where it does not exist. Any other failure is one of the test. */
  async function statOf(path: string): Promise<string | undefined> {
    const said = `${await output(shared().fixture.probe, ['stat', path])}`.trim()
    if (said === 'ENOENT') return undefined
    assert.match(said, /^\d+ \d+ \d+$/)
    return said
  }

  async function listRoot(): Promise<string[]> {
    return `${await output('ls', ['-A', shared().mount.folder])}`.trim().split('\n')
  }
}

const FILE_BYTES = 300_000

function makeFolder(t: TestContext, name: string, seed: number): string {
  const folder = join(tempFolder(t, 'tree'), name)
  mkdirSync(join(folder, 'folder'), { recursive: true })
  writeFileSync(join(folder, 'file'), noise(seed, FILE_BYTES))
  writeFileSync(join(folder, 'folder', 'inside'), `inside ${name}\n`)
  writeFileSync(join(folder, 'same-everywhere'), noise(0, FILE_BYTES))
  return folder
}

async function inodes(path: string): Promise<string[]> {
  return `${await output('find', [path, '-printf', '%P %i\\n'])}`.trim().split('\n').sort()
}
