import assert from 'node:assert/strict'
import { chownSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { before, type TestContext, test } from 'node:test'
import { tempInMemory } from '../helpers/mount-fixture.ts'
import { assertNothingLeft, mountNamespace } from '../helpers/namespace.ts'
import { output } from '../helpers/run.ts'
import { staticProgram } from '../helpers/static-program.ts'
import { tempFolder } from '../helpers/temp.ts'
import { suiteScope } from '../suites/mount.ts'
import { addOne, assertFailed, newState } from './support.ts'

// What keeps `run` from running anything: one line says what is missing.

/** Debian's nobody. */
const USER = 65534

const scope = suiteScope()
let state = ''
let program = ''
before(async () => {
  await tempInMemory(scope)
  state = newState(scope)
  const folder = join(tempFolder(scope, 'tree'), 'tree')
  mkdirSync(folder)
  await staticProgram(folder)
  program = `${(await addOne(state, [folder])).path}/static`
})

async function host(t: TestContext, store = true) {
  const nix = tempFolder(t, 'host')
  if (store) mkdirSync(join(nix, 'store'))
  return mountNamespace(t, { nix })
}

const args = (...more: string[]) => ['run', program, '--state', state, ...more]

test('a program runs over an empty /nix/store', async t => {
  const { code, stdout, stderr } = await (await host(t)).cli(args('--', 'x'))
  assert.deepEqual({ code, stdout: `${stdout}`, stderr }, { code: 42, stdout: 'static x\n', stderr: '' })
})

test('a machine without /nix/store: the command that makes it is named', async t => {
  const machine = await host(t, false)
  assertFailed(await machine.cli(args()), ['/nix/store does not exist', 'mkdir -p /nix/store'])
  assertNothingLeft(machine)
})

test('a kernel that allows nobody a user namespace: it says what that is needed for', async t => {
  const machine = await host(t)
  chownSync(machine.temporary, USER, USER)
  await output('chown', ['-R', `${USER}:${USER}`, state])
  // In a changed root directory the kernel refuses them, with the error of a machine that is set up to: EPERM.
  const script = `root=$(mktemp -d); mount --rbind / "$root"
    exec chroot "$root" setpriv --reuid=${USER} --regid=${USER} --clear-groups "$@"`
  const inRoot = ['unshare', '-m', 'sh', '-c', script, 'sh']
  try {
    assertFailed(await machine.cli(args(), {}, inRoot), ['/nix/store', 'Operation not permitted', 'user namespaces'])
  } finally {
    await output('chown', ['-R', '0:0', state])
  }
})

test('without unshare, the package is named', async t => {
  const machine = await host(t)
  const tools = tempFolder(t, 'tools')
  for (const tool of ['mount', 'umount', 'setpriv'])
    symlinkSync((await output('which', [tool])).toString().trim(), join(tools, tool))
  assertFailed(await machine.cli(args(), {}, ['env', `PATH=${tools}`]), ['unshare is missing', 'util-linux'])
  assertNothingLeft(machine)
})

for (const [has, lacks] of [
  ['setpriv', 'mount'],
  ['mount', 'setpriv'],
] as const) {
  test(`without ${lacks}, which a mount needs, the package is named`, async t => {
    const machine = await host(t)
    const tools = tempFolder(t, 'tools')
    for (const tool of ['umount', has])
      symlinkSync((await output('which', [tool])).toString().trim(), join(tools, tool))
    const { code, stderr } = await machine.cli(args(), {}, ['env', `PATH=${tools}`])
    assert.equal(code, 1)
    assert.match(
      stderr,
      new RegExp(`^nix-ipfs-mount: [^\\n]*${lacks} is missing; install the package [a-z-]+[^\\n]*\\n$`),
    )
    assertNothingLeft(machine)
  })
}

test('arguments that do not come after -- are wrong usage', async t => {
  assertFailed(await (await host(t)).cli(args('x', '-y')), ['Unknown argument'], 2)
})
