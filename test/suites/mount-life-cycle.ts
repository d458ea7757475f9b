import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { holdOpen } from '../helpers/holder.ts'
import { type Mount, mountStore } from '../helpers/mount.ts'
import { tempInMemory } from '../helpers/mount-fixture.ts'
import { buildProbe } from '../helpers/probe.ts'
import { cleanSettings, cli, cliProgram, output, type RunOptions, type RunResult, run } from '../helpers/run.ts'
import { endServers, serversOf } from '../helpers/servers.ts'
import { isMounted, mountsBelow, tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { inMount, type MountDriver, suiteScope } from './mount.ts'

const HELLO = 'hello from the store\n'

/** How a mount begins and ends, in every way that it can. */
export function lifeCycleSuite(driver: MountDriver): void {
  describe(`life cycle of a mount by ${driver.name}`, () => {
    const scope = suiteScope()
    let state = ''
    let added = ''
    let probe = ''
    before(async () => {
      await tempInMemory(scope)
      const work = tempFolder(scope, 'life-cycle')
      state = join(work, 'state')
      probe = await buildProbe(work)
      const folder = join(work, 'hello')
      mkdirSync(join(folder, 'folder'), { recursive: true })
      writeFileSync(join(folder, 'file'), HELLO)
      const { code, stdout, stderr } = await cli(['add', folder, '--state', state])
      assert.equal(code, 0, stderr)
      added = `${stdout}`.trim()
    })

    const mountAt = (t: TestContext, mountpoint = tempFolder(t, 'mount')) =>
      mountStore(t, { state, mountpoint, args: driver.args })
    const command = (mountpoint: string, ...args: string[]) => [mountpoint, '--state', state, ...driver.args, ...args]
    const hello = (mount: Pick<Mount, 'folder'>) => `${mount.folder}/${added.split('/').at(-1)}/file`
    const assertServes = async (mount: Pick<Mount, 'folder'>) =>
      assert.equal(`${await output('cat', [hello(mount)])}`, HELLO)

    const stopSignals = ['SIGTERM', 'SIGINT', ...(driver.capabilities.handsOver ? [] : (['SIGHUP'] as const))] as const

    test('says on stdout that it is mounted, and nothing else', async t => {
      const mount = await mountAt(t)
      await assertServes(mount)
      assert.equal(mount.stdout(), `mounted ${mount.folder}\n`)
      assert.equal(mount.stderr(), '')
    })

    test('makes a missing mount point, and the folders above it', async t => {
      const folder = join(tempFolder(t), 'above', 'mount point, "quoted" \u{1f600}')
      await assertServes(await mountAt(t, folder))
    })

    for (const [what, given, real] of [
      ['relative', './work/../relative', 'relative'],
      ['a link', './link', 'work'],
      ['missing, below a link', './link/missing/below', 'work/missing/below'],
    ] as const) {
      test(`a mount point that is ${what} is the folder it leads to`, async t => {
        const cwd = tempFolder(t)
        mkdirSync(join(cwd, 'work'))
        symlinkSync('work', join(cwd, 'link'))
        const folder = join(cwd, real)
        endServers(t, given, folder)
        const { code, stderr } = await cli(command(given, '--background'), { cwd })
        assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
        assert.deepEqual(mountsBelow(cwd), [folder])
        await assertServes({ folder })
        for (const again of [given, folder]) {
          assertRefused(await refused(command(again), { cwd }), /mounted there already/)
        }
        await output('umount', [folder])
        await until('the server ends', () => serversOf(given).length === 0)
      })
    }

    for (const signal of stopSignals) {
      test(`${signal} unmounts and exits with status 0`, async t => {
        const mount = await mountAt(t)
        assert.equal(await mount.stop(signal), 0)
        assert.ok(!isMounted(mount.folder))
        assert.deepEqual(readdirSync(mount.folder), [])
      })

      test(`${signal} does so also while a file is open and a process works in a folder there`, async t => {
        const mount = await mountAt(t)
        const holder = await holdOpen(t, probe, hello(mount), join(inMount(mount, added), 'folder'))
        assert.equal(await mount.stop(signal), 0)
        assert.ok(!isMounted(mount.folder))
        // Whoever still uses it gets an answer.
        assert.match(await holder.read(), /^(\d+|E[A-Z]+)$/)
      })
    }

    test('umount from outside ends it with status 0 and a line', async t => {
      const mount = await mountAt(t)
      await output('umount', [mount.folder])
      assert.equal(await ended(mount.child), 0)
      assertOneLine(mount.stderr(), /unmounted/)
    })

    test('umount -l from outside does so also while it is busy', async t => {
      const mount = await mountAt(t)
      await holdOpen(t, probe, hello(mount), inMount(mount, added))
      await output('umount', ['-l', mount.folder])
      assert.equal(await ended(mount.child), 0)
      assertOneLine(mount.stderr(), /unmounted/)
    })

    if (!driver.capabilities.handsOver)
      test('after kill -9 the mount is dead, and the next start cleans it up', async t => {
        const first = await mountAt(t)
        await assertServes(first)
        await first.stop('SIGKILL')
        // What the kernel has cached it still shows, so this asks for what it has not.
        assert.match((await run('stat', ['-f', first.folder])).stderr, /Transport endpoint is not connected/)
        assert.ok(isMounted(first.folder))
        const second = await mountAt(t, first.folder)
        await assertServes(second)
        assert.deepEqual(mountsBelow(first.folder), [first.folder])
      })

    test('--background returns when it is mounted; a signal to its server ends it', async t => {
      const folder = tempFolder(t, 'mount')
      await assertBackground(t, folder)
      await assertServes({ folder })
      const [server] = serversOf(folder)
      process.kill(server!, 'SIGTERM')
      await until('the server ends', () => serversOf(folder).length === 0)
      assert.ok(!isMounted(folder))
    })

    test('--background: umount ends its server', async t => {
      const folder = tempFolder(t, 'mount')
      await assertBackground(t, folder)
      await output('umount', [folder])
      await until('the server ends', () => serversOf(folder).length === 0)
    })

    test('--background: what keeps it from mounting is one line and status 1', async t => {
      const file = join(tempFolder(t), 'file')
      writeFileSync(file, '')
      assertRefused(await refused(command(file, '--background')), /is not a directory/)
      assert.deepEqual(serversOf(file), [])
    })

    test('one state at two mount points at once', async t => {
      const [first, second] = await Promise.all([mountAt(t), mountAt(t)])
      await Promise.all([assertServes(first), assertServes(second)])
      assert.equal(await first.stop(), 0)
      await assertServes(second)
    })

    test('a second mount on the same mount point is refused, and the first goes on', async t => {
      const mount = await mountAt(t)
      assertRefused(await refused(command(mount.folder)), /mounted there already/)
      await assertServes(mount)
      assert.deepEqual(mountsBelow(mount.folder), [mount.folder])
    })

    test('a mount point that would have to be made in our own mount is refused', async t => {
      const mount = await mountAt(t)
      for (const below of [`${mount.folder}/new`, `${inMount(mount, added)}/folder/new`]) {
        assertRefused(await refused(command(below)), /cannot be made/)
      }
      assert.deepEqual(mountsBelow(mount.folder), [mount.folder])
      await assertServes(mount)
    })

    test('a mount point that another file system uses is refused', async t => {
      const folder = tempFolder(t, 'tmpfs')
      await output('mount', ['-t', 'tmpfs', 'none', folder])
      assertRefused(await refused(command(folder)), /tmpfs/)
      assert.deepEqual(mountsBelow(folder), [folder])
    })

    test('a mount point that is a file, below a file, a dangling link, or not empty is refused', async t => {
      const work = tempFolder(t)
      writeFileSync(join(work, 'file'), '')
      symlinkSync('nowhere', join(work, 'dangling'))
      for (const name of ['file', 'file/below']) {
        assertRefused(await refused(command(join(work, name))), /is not a directory/)
      }
      assertRefused(await refused(command(join(work, 'dangling'))), /cannot be made|is not a directory/)
      assertRefused(await refused(command(work)), /not empty/)
      assert.deepEqual(mountsBelow(work), [])
      assert.deepEqual(readdirSync(work).sort(), ['dangling', 'file'])
    })

    test('an argument without a slash is wrong usage: a mistyped command', async () => {
      const { code, stdout, stderr } = await cli(['ad', '--state', state])
      assert.deepEqual({ code, stdout: `${stdout}` }, { code: 2, stdout: '' })
      assertOneLine(stderr, /unknown command "ad"/)
    })

    test('a state folder that is not ours is refused, and nothing is mounted', async t => {
      const [folder, foreign] = [tempFolder(t, 'mount'), tempFolder(t, 'foreign')]
      writeFileSync(join(foreign, 'something'), '')
      assertRefused(await refused([folder, '--state', foreign, ...driver.args]), /not a state folder/)
      assert.ok(!isMounted(folder))
    })

    test('without /dev/fuse it names the package', async t => {
      const folder = tempFolder(t, 'mount')
      const script = `mount -t tmpfs none /dev
        mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/urandom c 1 9
        exec "$@"`
      assertRefused(await inNamespace(script, command(folder)), /\/dev\/fuse .*package fuse3/)
    })

    test('with a /dev/fuse that cannot be opened it says so', async t => {
      const folder = tempFolder(t, 'mount')
      // Root may open whatever its capabilities let it; without them modes count.
      const script = `mknod -m 0 "${folder}-fuse" c 10 229; mount --bind "${folder}-fuse" /dev/fuse; rm "${folder}-fuse"
        exec setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search "$@"`
      assertRefused(await inNamespace(script, command(folder)), /\/dev\/fuse .*package fuse3/)
      assert.ok(!isMounted(folder))
    })

    /** Starts it with `--background` and expects what that prints. */
    async function assertBackground(t: TestContext, folder: string): Promise<void> {
      endServers(t, folder)
      const { code, stdout, stderr } = await cli(command(folder, '--background'))
      assert.deepEqual({ code, stdout: `${stdout}`, stderr }, { code: 0, stdout: `mounted ${folder}\n`, stderr: '' })
      assert.equal(serversOf(folder).length, 1)
    }
  })
}

/** Runs the program after a script that changes a mount namespace of its own and ends with `exec "$@"`. */
export function inNamespace(script: string, args: readonly string[]): Promise<RunResult> {
  return run('unshare', ['-m', 'sh', '-c', `set -e\n${script}`, 'sh', process.execPath, cliProgram, ...args], {
    env: cleanSettings(),
  })
}

/** Runs the program for a mount that is to be refused; one that is made after all ends soon. */
function refused(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return cli(args, { timeout: 20_000, ...options })
}

/** One line on stderr that says why, status 1, and no result. */
export function assertRefused({ code, stdout, stderr }: RunResult, why: RegExp): void {
  assert.deepEqual({ code, stdout: `${stdout}` }, { code: 1, stdout: '' }, stderr)
  assertOneLine(stderr, why)
}

function assertOneLine(stderr: string, why: RegExp): void {
  assert.match(stderr, /^nix-ipfs-mount: [^\n]+\n$/)
  assert.match(stderr, why)
}

/** The exit status of a process that is to end by itself. */
async function ended(child: ChildProcess): Promise<number | null> {
  await until('the server ends', () => child.exitCode !== null || child.signalCode !== null)
  return child.exitCode
}
