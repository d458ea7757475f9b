import assert from 'node:assert/strict'
import {
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { output } from '../helpers/run.ts'
import { endServers, serversOf } from '../helpers/servers.ts'
import { SYSTEM_USER, type UserMachine, userMachine } from '../helpers/system-user.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { assertFailed, newState, succeeded } from './support.ts'

// Mounts that root makes of a state that is not root's.

interface Stage {
  machine: UserMachine
  state: string
  mountpoint: string
  /** A path in the state: a program that says who it is. */
  path: string
}

async function stage(t: TestContext): Promise<Stage> {
  // `run` needs a /nix/store.
  const nix = tempFolder(t, 'nix')
  mkdirSync(join(nix, 'store'))
  const machine = await userMachine(t, { nix })
  const state = newState(t)
  const file = join(tempFolder(t), 'program')
  writeFileSync(file, '#!/bin/sh\nid -u\n', { mode: 0o700 })
  const path = succeeded(await machine.cli(['add', file, '--state', state]))
    .toString()
    .trim()
  const mountpoint = tempFolder(t, 'mount')
  endServers(t, mountpoint)
  return { machine, state, mountpoint, path }
}

/** Paths in a state that do not belong to its user. */
function notTheirs(state: string): string[] {
  const paths = ['', ...readdirSync(state, { recursive: true, encoding: 'utf8' })]
  return paths.filter(path => lstatSync(join(state, path)).uid !== SYSTEM_USER.uid)
}

test("a mount of root's leaves nothing of root's in the state", async t => {
  const { machine, state, mountpoint, path } = await stage(t)
  const mounted = await machine.cli([mountpoint, '--state', state, '--background'])
  assert.equal(succeeded(mounted).toString(), `mounted ${mountpoint}\n`)
  assert.equal(lstatSync(join(state, 'mount.log')).size, 0)
  assert.deepEqual(notTheirs(state), [])
  const inMount = join(mountpoint, path.slice('/nix/store/'.length))
  assert.equal(succeeded(await machine.run(inMount, [])).toString(), '0\n')
  succeeded(await machine.cli(['forget', path, '--state', state]))
  await until('the path is gone', async () => (await machine.run('test', ['-e', inMount])).code === 1)
  const [server] = serversOf(mountpoint)
  process.kill(server!, 'SIGTERM')
  await until('the server ends', () => serversOf(mountpoint).length === 0)
  assert.deepEqual(succeeded(await machine.run('ls', ['-A', mountpoint])).toString(), '')
  assert.deepEqual(notTheirs(state), [])
})

test('the servers of the kernel driver are the user, without any right, and the supervisor alone is root', async t => {
  const { machine, state, mountpoint } = await stage(t)
  succeeded(await machine.cli([mountpoint, '--state', state, '--driver', 'kernel', '--background']))
  const [supervisor] = serversOf(mountpoint)
  const status = (pid: number) => readFileSync(`/proc/${pid}/status`, 'latin1')
  assert.match(status(supervisor!), /^Uid:\t0\t0\t0\t0$/m)
  const { uid, gid } = SYSTEM_USER
  await until('a standby is there', () => serversOf('fuse-server', supervisor).length === 2)
  for (const server of serversOf('fuse-server', supervisor)) {
    const said = status(server)
    assert.match(said, new RegExp(`^Uid:\t${uid}\t${uid}\t${uid}\t${uid}$`, 'm'))
    assert.match(said, new RegExp(`^Gid:\t${gid}\t${gid}\t${gid}\t${gid}$`, 'm'))
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
      assert.match(said, new RegExp(`^${set}:\t0+$`, 'm'))
    }
    assert.match(said, /^NoNewPrivs:\t1$/m)
  }
})

test('libfuse keeps the rights of root, and says so to who named a user', async t => {
  const { machine, state, mountpoint } = await stage(t)
  const args = [mountpoint, '--state', state, '--driver', 'libfuse', '--user', SYSTEM_USER.name, '--background']
  succeeded(await machine.cli(args))
  assert.match(readFileSync(join(state, 'mount.log'), 'utf8'), /^nix-ipfs-mount: --user nix-ipfs-mount: [^\n]+\n$/)
  const status = readFileSync(`/proc/${serversOf(mountpoint)[0]}/status`, 'latin1')
  assert.match(status, /^Uid:\t0\t0\t0\t0$/m)
})

test('a state on a read-only filesystem is mounted', async t => {
  const { machine, mountpoint } = await stage(t)
  const state = newState(t)
  const file = join(tempFolder(t), 'file')
  writeFileSync(file, 'x')
  succeeded(await machine.cli(['add', file, '--state', state, '--user', 'root']))
  writeFileSync(join(state, 'mount.log'), '')
  const mount = 'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"'
  succeeded(await machine.run('sh', ['-c', mount, state]))
  const [node, program] = machine.program
  // In the foreground, since nothing can be written to mount.log.
  const said = join(tempFolder(t), 'said')
  const script = `"$@" > ${said} & until grep mounted ${said}; do kill -0 $! || exit 1; sleep 0.1; done
    cat "$0"/*-file; kill $!; wait $!`
  const result = await machine.run('sh', ['-ec', script, mountpoint, node, program, mountpoint, '--state', state])
  assert.equal(succeeded(result).toString(), `mounted ${mountpoint}\nx`)
})

test('a program that run starts is as much root as its caller', async t => {
  const { machine, state, path } = await stage(t)
  assert.equal(succeeded(await machine.cli(['run', path, '--state', state])).toString(), '0\n')
  assert.deepEqual(notTheirs(state), [])
})

test("root follows no link that the state's user may have made", async t => {
  const { machine, state, mountpoint } = await stage(t)
  const precious = join(tempFolder(t), 'precious')
  writeFileSync(precious, 'precious\n', { mode: 0o600 })
  const mount = () => machine.cli([mountpoint, '--state', state, '--background'])
  const replaced = async (name: string, check: () => Promise<void>) => {
    const [file, aside] = [join(state, name), join(dirname(state), 'aside')]
    renameSync(file, aside)
    symlinkSync(precious, file)
    await check()
    rmSync(file)
    renameSync(aside, file)
    assert.equal(readFileSync(precious, 'utf8'), 'precious\n')
    assert.equal(lstatSync(precious).uid, 0)
  }
  writeFileSync(join(state, 'mount.log'), '')
  await replaced('mount.log', async () => assertFailed(await mount(), [state, 'EACCES']))
  chownSync(join(state, 'mount.log'), SYSTEM_USER.uid, SYSTEM_USER.gid)
  await replaced('index/data.mdb', async () => assertFailed(await mount(), [state, 'EACCES']))
  assert.equal((await output('ls', ['-A', mountpoint])).toString(), '')
  // An index whose lock cannot be had is read without.
  await replaced('index/lock.mdb', async () => assert.match(succeeded(await mount()).toString(), /^mounted /))
})
