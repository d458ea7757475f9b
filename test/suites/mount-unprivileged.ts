import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { type Mount, mountStore } from '../helpers/mount.ts'
import { addToState, type MountFixture, mountFixture, noise, tempInMemory } from '../helpers/mount-fixture.ts'
import { output, type RunResult, run } from '../helpers/run.ts'
import { endServers, serversOf } from '../helpers/servers.ts'
import { isMounted, tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { inMount, type MountDriver, suiteScope } from './mount.ts'
import { assertRefused } from './mount-life-cycle.ts'

/** Debian's nobody. */
const USER = 65534

/** What a user without any right can do: a mount by fusermount3, in a folder and with a state of their own. */
export function unprivilegedSuite(driver: MountDriver): void {
  describe(`mount by ${driver.name}, without root`, () => {
    const scope = suiteScope()
    let fixture: MountFixture | undefined
    before(async () => {
      await tempInMemory(scope)
      fixture = await mountFixture(scope)
    })
    const mountAs = async (t: TestContext) => {
      const state = tempFolder(t, 'state')
      return { state, mount: await mountStore(t, { state, user: USER, args: driver.args }) }
    }

    test('add, mount, read back, run, unmount by SIGTERM', async t => {
      const { state, mount } = await mountAs(t)
      const folder = ownFolder(t, 'mine')
      const added = await cliAs(mount, ['add', folder, '--state', state])
      assert.deepEqual({ code: added.code, stderr: added.stderr }, { code: 0, stderr: '' })
      const path = inMount(mount, `${added.stdout}`.trim())
      await until(`${path} appears`, async () => (await mount.run('test', ['-d', path])).code === 0)
      await mount.output('diff', ['-r', folder, path])
      const said = await mount.output('sh', ['-c', '"$0"/program; stat -c "%a %u %g %Y" "$0"/program', path])
      assert.equal(`${said}`, 'it runs\n555 0 0 1\n')
      for (const script of ['echo >"$0"/file', 'rm "$0"/file', 'mkdir "$0"/new', 'chmod 777 "$0"/file']) {
        assert.match((await mount.run('sh', ['-c', script, path])).stderr, /Read-only file system/, script)
      }
      const listed = await mount.output('findmnt', ['-n', '-o', 'FSTYPE,OPTIONS', mount.folder])
      assert.match(`${listed}`, new RegExp(`^fuse\\.nix-ipfs-mount ro,.*user_id=${USER},`))
      assert.equal(await mount.stop('SIGTERM'), 0)
      assert.equal(mount.stderr(), '')
    })

    test('a whole store path reads as the real one', async t => {
      const state = tempFolder(t, 'state')
      await addToState(fixture!, state, [fixture!.tree])
      const mount = await mountStore(t, { state, user: USER, args: driver.args })
      const real = fixture!.nix.physical(fixture!.tree)
      const rsync = ['-aicn', '--delete', '--exclude=/many', `${inMount(mount, fixture!.tree)}/`, `${real}/`]
      assert.equal(`${await mount.output('rsync', rsync)}`, '')
    })

    test('others do not see into it, not even root', async t => {
      const { mount } = await mountAs(t)
      const pid = `${mount.child.pid}`
      // Another user in the same namespace; root's own look is that of a process with all rights.
      const asRoot = await output('nsenter', ['-m', '-t', pid, 'sh', '-c', 'ls "$0" 2>&1; true', mount.folder])
      assert.match(`${asRoot}`, /Permission denied/)
    })

    test('after kill -9 the mount is dead, and the next start cleans it up', async t => {
      const { state, mount } = await mountAs(t)
      endServers(t, mount.folder)
      // One process does it all: the namespace, and the mount in it, end with the last process inside.
      const script = `kill -9 ${mount.child.pid}
        while kill -0 ${mount.child.pid} 2>/dev/null; do sleep 0.05; done
        stat -f "$1" 2>&1 | grep -o "Transport endpoint is not connected"
        "$2" "$3" "$1" --state "$4" --background && ls "$1" && fusermount3 -u "$1"`
      const { stdout, stderr } = await mount.run('sh', ['-c', script, 'sh', mount.folder, ...commandLine(mount), state])
      const said = `Transport endpoint is not connected\nmounted ${mount.folder}\n`
      assert.deepEqual({ stdout: `${stdout}`, stderr }, { stdout: said, stderr: '' })
      await until('the server ends', () => serversOf(mount.folder).length === 0)
    })

    test('mount points without rights are refused', async t => {
      const { state, mount } = await mountAs(t)
      const rootsOwn = tempFolder(t, 'roots')
      const hidden = join(rootsOwn, 'hidden')
      mkdirSync(hidden, { mode: 0o700 })
      const refused: [string, RegExp][] = [
        [rootsOwn, /no right to mount there/],
        [join(rootsOwn, 'missing'), /cannot be made \(EACCES\)/],
        [hidden, /no right to mount there/],
        [join(hidden, 'below'), /EACCES/],
        ['/proc/self/fdinfo', /./],
      ]
      for (const [folder, why] of refused) {
        assertRefused(await cliAs(mount, [folder, '--state', state, ...driver.args]), why)
        assert.ok(!isMounted(folder))
      }
    })

    test('a state folder without rights is refused', async t => {
      const { mount } = await mountAs(t)
      const [rootsOwn, mountpoint] = [tempFolder(t, 'roots'), ownFolder(t, 'mountpoint', [])]
      const result = await cliAs(mount, [mountpoint, '--state', join(rootsOwn, 'state'), ...driver.args])
      assertRefused(result, /state folder cannot be made \(EACCES\)/)
    })

    test('a /dev/fuse that only root may open is refused, and the package is named', async t => {
      const { state, mount } = await mountAs(t)
      const mountpoint = ownFolder(t, 'mountpoint', [])
      const [node, program] = commandLine(mount)
      // In a namespace below that of the mount: what lies there under /dev/fuse is for all, the machine's own is not.
      const script = `node=$(mktemp -u); mknod -m 600 "$node" c 10 229; mount --bind "$node" /dev/fuse; rm "$node"
        exec setpriv --reuid=${USER} --regid=${USER} --clear-groups "$@"`
      const pid = `${mount.child.pid}`
      const args = ['-m', '-t', pid, 'unshare', '-m', 'sh', '-c', script, 'sh', node, program, mountpoint]
      assertRefused(await run('nsenter', [...args, '--state', state, ...driver.args]), /\/dev\/fuse .*package fuse3/)
    })
  })
}

/** A folder with these files in it that belongs to the user. */
function ownFolder(t: TestContext, name: string, files = ['file', 'program']): string {
  const folder = join(tempFolder(t, 'own'), name)
  mkdirSync(folder)
  chownSync(folder, USER, USER)
  for (const file of files) {
    writeFileSync(join(folder, file), file === 'program' ? '#!/bin/sh\necho it runs\n' : noise(31, 1_500_000))
    chmodSync(join(folder, file), file === 'program' ? 0o755 : 0o644)
  }
  return folder
}

/** Node and the program as the server was started with them: where its user may read them. */
function commandLine(mount: Mount): [node: string, program: string] {
  const [node, program] = readFileSync(`/proc/${mount.child.pid}/cmdline`, 'utf8').split('\0')
  assert.equal(basename(program!), 'main.js')
  return [node!, program!]
}

/** Runs the program as the mount's user, beside it. */
function cliAs(mount: Mount, args: readonly string[]): Promise<RunResult> {
  const [node, program] = commandLine(mount)
  return mount.run(node, [program, ...args])
}
