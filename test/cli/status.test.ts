import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import type { MountStatus } from '../../src/fs/status.ts'
import { type Apart, setApart } from '../helpers/apart.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { serversAt } from '../helpers/failover.ts'
import { cleanSettings, cliProgram, stopProcess } from '../helpers/run.ts'
import { endServers, reapersOf, serversOf } from '../helpers/servers.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { addOne, assertFailed, succeeded } from './support.ts'

const scope = { after }
const work = tempFolder(scope)
const state = join(work, 'state')
const CONTENT = 'what status counts\n'
let baseName = ''

before(async () => {
  const folder = join(work, 'tree')
  mkdirSync(folder)
  writeFileSync(join(folder, 'file'), CONTENT)
  baseName = (await addOne(state, [folder])).path.split('/').at(-1)!
})

/** Mounts in the background, and gives the mount point. */
async function mountApart(t: TestContext, apart: Apart, driver: string): Promise<string> {
  const folder = tempFolder(t, 'mount')
  endServers(t, folder)
  const { code, stderr } = await apart.cli([folder, '--state', state, '--driver', driver, '--background'])
  assert.equal(code, 0, stderr)
  return folder
}

async function statuses(apart: Apart): Promise<MountStatus[]> {
  return JSON.parse(`${succeeded(await apart.cli(['status', '--json']))}`)
}

test('no mounts: nothing, an empty array, and nothing to upgrade', async t => {
  const apart = await setApart(t)
  assert.equal(`${succeeded(await apart.cli(['status']))}`, '')
  assert.equal(`${succeeded(await apart.cli(['status', '--json']))}`, '[]\n')
  assertFailed(await apart.cli(['upgrade']), ['no mount of yours is running'])
})

test('status of mounts by both drivers, as text and as JSON', async t => {
  const apart = await setApart(t)
  const kernel = await mountApart(t, apart, 'kernel')
  const libfuse = await mountApart(t, apart, 'libfuse')
  await until('the second server is ready', async () => (await statuses(apart)).some(({ standby }) => standby))
  for (const folder of [kernel, libfuse]) {
    assert.equal(`${succeeded(await apart.run('cat', [`${folder}/${baseName}/file`]))}`, CONTENT)
    assert.equal((await apart.run('cat', [`${folder}/${baseName}/missing`])).code, 1)
  }
  const all = await statuses(apart)
  assert.deepEqual(
    all.map(({ mountpoint }) => mountpoint),
    [kernel, libfuse].sort(),
  )
  for (const mount of all) {
    const byKernel = mount.mountpoint === kernel
    const { pid, supervisor, since, mounted, requests, messages, version, ...rest } = mount
    assert.deepEqual(rest, {
      mountpoint: byKernel ? kernel : libfuse,
      state,
      driver: byKernel ? 'kernel' : 'libfuse',
      restarts: 0,
      upgrades: 0,
      standby: byKernel,
      misses: 0,
      inFlight: 0,
      bytesRead: CONTENT.length,
      fetched: {},
      failures: 0,
      malformed: 0,
      lastErrors: [],
      paths: 1,
    })
    assert.match(version, /^\d+\.\d+\.\d+$/)
    for (const time of [since, mounted]) assert.equal(new Date(time).toISOString(), time)
    assert.equal(pid === supervisor, !byKernel)
    if (byKernel) assert.ok(serversAt(kernel).includes(pid))
    assert.deepEqual(serversOf(mount.mountpoint), [supervisor])
    assert.ok(Object.values(requests).reduce((sum, count) => sum + count, 0) <= messages)
    if (byKernel) assert.ok(requests.LOOKUP! >= 3 && requests.READ! >= 1, JSON.stringify(requests))
  }
  const text = `${succeeded(await apart.cli(['status']))}`
  for (const mount of all) {
    for (const part of [mount.mountpoint, `process ${mount.pid}`, `by process ${mount.supervisor}`, state, mount.since])
      assert.ok(text.includes(part), `${text} has ${part}`)
  }
  // Of its mounts one cannot, which keeps the other from nothing.
  const upgraded = await apart.cli(['upgrade'])
  assert.equal(upgraded.code, 1)
  assert.equal(`${upgraded.stdout}`, `upgraded ${kernel}\n`)
  assert.equal(upgraded.stderr, `nix-ipfs-mount: ${libfuse}: the libfuse driver cannot hand over\n`)
  const after = (await statuses(apart)).find(({ mountpoint }) => mountpoint === kernel)!
  assert.deepEqual([after.restarts, after.upgrades], [1, 1])
})

test('status --watch shows it again until a signal', async t => {
  const apart = await setApart(t)
  const folder = await mountApart(t, apart, 'kernel')
  const [command, ...words] = [...apart.enter, process.execPath, cliProgram, 'status', '--watch', '--json']
  const child = spawn(command!, words, {
    env: { ...process.env, ...cleanSettings() },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onCleanup(t, () => stopProcess(child, 'SIGKILL'))
  let said = ''
  child.stdout.on('data', chunk => {
    said += chunk
  })
  await until('it says it thrice', () => said.split('\n').length > 3)
  child.kill('SIGINT')
  await until('it ends', () => child.exitCode !== null || child.signalCode !== null)
  for (const line of said.split('\n').slice(0, -1))
    assert.deepEqual(
      (JSON.parse(line) as MountStatus[]).map(({ mountpoint }) => mountpoint),
      [folder],
    )
})

test('the socket of a mount that was killed is no mount', async t => {
  const apart = await setApart(t)
  const folder = await mountApart(t, apart, 'kernel')
  const [{ supervisor } = assert.fail('there is a mount')] = await statuses(apart)
  for (const pid of [...reapersOf(folder), supervisor]) process.kill(pid, 'SIGKILL')
  await until('it has ended', () => serversOf(folder).length === 0)
  assert.match(`${succeeded(await apart.run('ls', ['/run/nix-ipfs-mount']))}`, /\.sock$/m)
  assert.deepEqual(await statuses(apart), [])
  assertFailed(await apart.cli(['upgrade']), ['no mount of yours is running'])
})

test('a mount whose servers do not answer says so, and the others are shown', async t => {
  const apart = await setApart(t)
  const stuck = await mountApart(t, apart, 'kernel')
  const other = await mountApart(t, apart, 'libfuse')
  for (const pid of serversAt(stuck)) process.kill(pid, 'SIGSTOP')
  const { code, stdout, stderr } = await apart.cli(['status', '--json'])
  assert.deepEqual(
    (JSON.parse(`${stdout}`) as MountStatus[]).map(({ mountpoint }) => mountpoint),
    [other],
  )
  assert.deepEqual(
    { code, stderr },
    { code: 1, stderr: `nix-ipfs-mount: ${stuck}: no server answers just now; try again\n` },
  )
  // It heals by itself.
  await until('another server answers', async () => (await apart.cli(['status'])).code === 0, 60_000)
})
