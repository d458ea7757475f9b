import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { mountStore } from '../helpers/mount.ts'
import { MANY_ENTRIES, numbers, sizes } from '../helpers/mount-fixture.ts'
import { cli, output, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { inMount, type Shared } from './mount.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** Readers of everything at the same time. */
const READERS = 32

export function readTests(shared: Shared): void {
  test('sha256sum of all files', async () => {
    const { real, mounted } = shared()
    const script = 'cd "$0" && find . -type f -print0 | sort -z | xargs -0 sha256sum'
    await assertSameOutput(real, mounted, folder => ['sh', ['-c', script, folder]])
  })

  test('tar makes the same archive', async () => {
    const { real, mounted } = shared()
    await assertSameOutput(real, mounted, folder => ['tar', ['--sort=name', '--format=gnu', '-C', folder, '-c', '.']])
  })

  test('diff -r finds no difference', async () => {
    const { real, mounted } = shared()
    assert.equal(`${await output('diff', ['-r', '--no-dereference', real, mounted])}`, '')
  })

  test('rsync finds no difference in contents, modes, times, owners and targets', async () => {
    const { real, mounted } = shared()
    const options = ['-aicn', '--delete']
    assert.equal(`${await output('rsync', [...options, `${mounted}/`, `${real}/`])}`, '')
    assert.equal(`${await output('rsync', [...options, `${real}/`, `${mounted}/`])}`, '')
  })

  test('cp -a makes a true copy', async t => {
    const { real, mounted } = shared()
    const copy = join(tempFolder(t, 'copy'), 'tree')
    await output('cp', ['-a', mounted, copy])
    assert.equal(`${await output('rsync', ['-aicn', '--delete', `${real}/`, `${copy}/`])}`, '')
    assert.equal(`${await output('diff', ['-r', '--no-dereference', real, copy])}`, '')
  })

  test('a folder of 20,000 entries is listed whole, without duplicates, and seekdir finds its places', async () => {
    const { fixture, mounted } = shared()
    const said = `${await output(fixture.probe, ['entries', `${mounted}/many`])}`.trim().split('\n')
    const names = said.map(line => Buffer.from(line.split(' ')[2]!, 'hex').toString())
    const expected = Array.from({ length: MANY_ENTRIES }, (_, i) => `entry-${i}`)
    assert.deepEqual(names.sort(), ['.', '..', ...expected].sort())
    for (const folder of [mounted, `${mounted}/many`, `${mounted}/empty-folder`]) {
      const { code, stdout } = await run(fixture.probe, ['seek', folder])
      assert.equal(code, 0, `${folder}: ${stdout}`)
    }
  })

  for (const how of ['cached', 'direct'] as const) {
    test(`reads at any offset, ${how === 'cached' ? 'by page' : 'past the page cache'}`, async () => {
      const { fixture, real, mounted } = shared()
      const random = numbers(how === 'cached' ? 1 : 2)
      for (const size of sizes) {
        const contents = readFileSync(`${real}/sizes/${size}`)
        const ranges = [...edges(size)]
        for (let i = 0; i < 60; i++) ranges.push([random(size + 10), 1 + random(300 * KIB)])
        const input = ranges.map(range => range.join(' ')).join('\n')
        const said = await output(fixture.probe, ['pread', how, `${mounted}/sizes/${size}`], { input })
        let at = 0
        for (const [offset, length] of ranges) {
          const expected = contents.subarray(Math.min(offset, size), offset + length)
          const head = `${expected.length}\n`
          const what = `${length} bytes at ${offset} of ${size}`
          assert.equal(said.toString('latin1', at, said.indexOf('\n', at) + 1), head, what)
          at += head.length
          assert.ok(said.subarray(at, at + expected.length).equals(expected), what)
          at += expected.length
        }
        assert.equal(at, said.length)
      }
    })
  }

  test('dd with odd block sizes', async () => {
    const { real, mounted } = shared()
    for (const options of ['bs=1000 skip=1', 'bs=65537 skip=3', 'bs=1M skip=1 count=1', 'bs=3 skip=349525 count=9']) {
      const command = (folder: string): Command => [
        'dd',
        [`if=${folder}/sizes/${3 * MIB + 17}`, 'status=none', ...options.split(' ')],
      ]
      await assertSameOutput(real, mounted, command)
    }
  })

  test('mmap of whole files', async () => {
    const { fixture, real, mounted } = shared()
    for (const name of [...sizes.map(size => `sizes/${size}`), 'bin/large', 'bin/probe', 'empty-file']) {
      await assertSameOutput(real, mounted, folder => [fixture.probe, ['mmap', `${folder}/${name}`]])
    }
  })

  test('a program and a script run from the mount', async () => {
    const { fixture, mount, mounted } = shared()
    // By env, because the test process itself would wait for the mount to run a program that lies there.
    for (const program of [`${mounted}/bin/probe`, inMount(mount, fixture.program)]) {
      const { code, stdout, stderr } = await run('env', [program, 'echo', 'one', 'two words'])
      assert.deepEqual({ code, stdout: `${stdout}`, stderr }, { code: 42, stdout: 'one two words\n', stderr: '' })
    }
    assert.equal(`${await output('env', [`${mounted}/bin/script`, 'an argument'])}`, 'script an argument\n')
    const denied = await run('env', [`${mounted}/sizes/1`])
    assert.equal(denied.code, 126)
    assert.match(denied.stderr, /Permission denied/)
  })

  test('shared locks can be taken, as SQLite and Nix do', async () => {
    const { mounted } = shared()
    assert.equal(`${await output('flock', ['-s', '-n', `${mounted}/sizes/1`, 'echo', 'locked'])}`, 'locked\n')
  })

  test('there are no extended attributes', async t => {
    const { mounted } = shared()
    const copy = join(tempFolder(t), 'copy')
    assert.equal((await run('cp', ['--preserve=all', `${mounted}/sizes/1`, copy])).stderr, '')
    // ls marks what has an access control list or a security context with another character.
    assert.match(`${await output('ls', ['-l', `${mounted}/sizes/1`])}`, /^-r--r--r-- 1 root root 1 /)
  })

  test('the NAR is the original’s: of the mounted path, and by the command nar', async () => {
    const { fixture, mount, state } = shared()
    const { tree, file, program, link } = fixture
    for (const path of [tree, file, program, link]) {
      const expected = await fixture.nix.dump(path)
      assert.ok(expected.equals(await output('nix-store', ['--dump', inMount(mount, path)])), `dump of ${path}`)
      const { code, stdout, stderr } = await cli(['nar', path, '--state', state])
      assert.equal(code, 0, stderr)
      assert.ok(expected.equals(stdout), `nar of ${path}`)
    }
  })

  test(`${READERS} readers at once of what no cache has yet`, async t => {
    const { real } = shared()
    const folder = await freshMount(t, shared)
    // Each its own order, so that they ask for different things at a time; sorted at the end, so that they agree.
    const script =
      'cd "$0" && find . -path ./many -prune -o -type f -print0 | shuf -z --random-source="$1" | xargs -0 sha256sum | sort'
    const seeds = sizes.map(size => `${real}/sizes/${size}`).slice(1)
    const expected = await output('sh', ['-c', script, real, seeds[0]!])
    const readers = Array.from({ length: READERS }, (_, i) => {
      return output('sh', ['-c', script, folder, seeds[i % seeds.length]!])
    })
    for (const said of await Promise.all(readers)) assert.ok(said.equals(expected), `${said}`)
  })

  test(`${READERS} listings at once of a large folder`, async t => {
    const folder = await freshMount(t, shared)
    const listings = Array.from({ length: READERS }, () => output('ls', ['-f', '-U', `${folder}/many`]))
    for (const said of await Promise.all(listings)) {
      assert.equal(new Set(`${said}`.trim().split('\n')).size, MANY_ENTRIES + 2)
    }
  })
}

type Command = readonly [string, readonly string[]]

async function assertSameOutput(real: string, mounted: string, command: (folder: string) => Command): Promise<void> {
  const [expected, found] = await Promise.all([output(...command(real)), output(...command(mounted))])
  assert.equal(found.length, expected.length)
  assert.ok(found.equals(expected), command(mounted).flat().join(' '))
}

/** The tree in a mount of its own, whose pages the kernel does not have. */
async function freshMount(t: TestContext, shared: Shared): Promise<string> {
  const { driver, state, fixture } = shared()
  return inMount(await mountStore(t, { state, args: driver.args }), fixture.tree)
}

/** Ranges around the borders of requests, checksums and blocks, around the end, and past it. */
function* edges(size: number): Generator<[offset: number, length: number]> {
  for (const border of [0, 4 * KIB, 64 * KIB, 128 * KIB, MIB, 2 * MIB, 3 * MIB, size]) {
    for (const before of [0, 1, 17]) {
      const offset = border - before
      if (offset < 0 || offset > size) continue
      for (const length of [1, before + 1, before + 4 * KIB, 64 * KIB + 1, MIB + 1]) yield [offset, length]
    }
  }
  yield [0, size]
  yield [0, size + 1]
  yield [size + 1, 1]
  yield [size + 2 * MIB, 100]
  yield [2 ** 31 - 1, 100]
  yield [2 ** 33, 100]
}
