import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { asIdentity } from '../../src/cli/identity.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { listen } from '../helpers/kubo-proxy.ts'
import { nixStore, sampleClosure } from '../helpers/nix.ts'
import { checkout, cli, cliProgram, output } from '../helpers/run.ts'
import { SYSTEM_USER, type UserMachine, userMachine } from '../helpers/system-user.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { assertFailed, doneText, jsonLines, newState, succeeded } from './support.ts'

// What root's commands run as, and who owns the state.

const scope = { after }
// A hook that is first asked for inside another ends with that one.
onCleanup(scope, () => {})
let machine: UserMachine

before(async () => {
  machine = await userMachine(scope)
})

const { uid, gid } = SYSTEM_USER

/** A file that only root may reach and read. */
function secretFile(t: TestContext): string {
  const folder = join(tempFolder(t), 'secret')
  mkdirSync(folder, { mode: 0o700 })
  writeFileSync(join(folder, 'file'), 'nobody else may read this\n', { mode: 0o600 })
  return join(folder, 'file')
}

/** `uid:gid` of everything in a state, itself included, each once. */
function ownersIn(state: string): string[] {
  const paths = ['', ...readdirSync(state, { recursive: true, encoding: 'utf8' })]
  return [
    ...new Set(
      paths.map(path => {
        const stat = lstatSync(join(state, path))
        return `${stat.uid}:${stat.gid}`
      }),
    ),
  ]
}

async function done(args: readonly string[], input?: Uint8Array): Promise<string> {
  return succeeded(await machine.cli(args, { input })).toString()
}

/** Fields of proc_pid_status(5); undefined where there is no such process. */
function statusOf(pid: number): Record<string, string> | undefined {
  try {
    const lines = readFileSync(`/proc/${pid}/status`, 'latin1').trim().split('\n')
    return Object.fromEntries(lines.map(line => line.split(/:\s*/, 2) as [string, string]))
  } catch {
    return undefined
  }
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

/** Starts the program as root; nsenter's process becomes it. */
function start(t: TestContext, args: readonly string[]) {
  const [command, ...rest] = [...machine.enter, ...machine.program, ...args]
  const child = spawn(command, rest, { env: { ...process.env, ...machine.env }, stdio: 'pipe' })
  const exit = once(child, 'exit') as Promise<[code: number | null, signal: NodeJS.Signals | null]>
  child.stdin.on('error', () => {})
  onCleanup(t, async () => {
    child.kill('SIGKILL')
    await exit
  })
  return { child, pid: child.pid!, exit }
}

test('every command works, and everything in the state belongs to its user', async t => {
  const state = newState(t)
  const secret = secretFile(t)
  const at = ['--state', state]
  const path = (await done(['add', secret, ...at])).trim()
  const name = path.slice('/nix/store/'.length)
  assert.equal(await done(['ls', ...at]), `${name}\n`)
  assert.equal(await done(['cat', path, ...at]), 'nobody else may read this\n')
  const nar = succeeded(await machine.cli(['nar', path, ...at]))
  assert.equal((await output('nix-store', ['--dump', secret])).compare(nar), 0)
  assert.equal(JSON.parse(await done(['info', path, '--json', ...at])).path, path)
  assert.equal(await done(['verify', ...at]), `${path}: ok\n`)
  const made = await done(['key', 'generate', 'key-1', ...at])
  assert.equal(await done(['key', 'public', ...at]), made)
  assert.equal(lstatSync(join(state, 'secret-key')).mode & 0o7777, 0o600)
  const again = await done(['add', '--nar', '-', '--name', 'again', ...at], nar)
  assert.match(again, /-again\n$/)
  assert.equal(await done(['forget', path, ...at]), `${path}\n`)
  assert.equal(await done(['ls', ...at]), again.slice('/nix/store/'.length))
  assert.equal(await done(['verify', '--repair', ...at]), `${again.trim()}: ok\n`)
  assert.deepEqual(ownersIn(state), [`${uid}:${gid}`])
})

test('no command reads what in the state is closed to its user, as root could', async t => {
  const state = newState(t)
  const file = secretFile(t)
  const at = ['--state', state]
  const path = (await done(['add', file, ...at])).trim()
  const data = join(state, 'index', 'data.mdb')
  chownSync(data, 0, 0)
  chmodSync(data, 0o600)
  const commands = [['add', '--nar', '-', '--name', 'x'], ['ls'], ['cat', path], ['nar', path], ['info', path]]
  const more = [
    ['verify'],
    ['verify', '--repair'],
    ['forget', path],
    [join(tempFolder(t), 'mnt')],
    ['run', '/bin/true'],
  ]
  for (const command of [...commands, ...more]) assertFailed(await machine.cli([...command, ...at]), ['EACCES'])
  writeFileSync(join(state, 'secret-key'), 'x', { mode: 0o600 })
  assertFailed(await machine.cli(['key', 'public', ...at]), ['EACCES'])
})

test("a NAR of root's is read, and who reads it has no right", async t => {
  const state = newState(t)
  const folder = join(tempFolder(t), 'secret')
  mkdirSync(folder, { mode: 0o700 })
  const nar = join(folder, 'nar')
  writeFileSync(nar, await output('nix-store', ['--dump', secretFile(t)]), { mode: 0o600 })
  assert.match(await done(['add', '--nar', nar, '--name', 'x', '--state', state]), /-x\n$/)

  const { pid, child, exit } = start(t, ['add', '--nar', '-', '--name', 'y', '--state', state])
  await until('it is the user', () => statusOf(pid)?.Uid === Array(4).fill(uid).join('\t'))
  const { Gid, Groups, CapPrm, CapEff } = statusOf(pid)!
  assert.deepEqual([Gid, Groups], [Array(4).fill(gid).join('\t'), `${gid} `])
  for (const capabilities of [CapPrm, CapEff]) assert.equal(BigInt(`0x${capabilities}`), 0n)
  child.stdin.end(readFileSync(nar))
  assert.deepEqual(await exit, [0, null])
})

test('who adds files may read all of them, and nothing else', async t => {
  const { pid, worker } = await hangingAdd(t)
  const { Uid, Gid, Groups, NoNewPrivs, ...status } = statusOf(worker)!
  assert.equal(Uid, Array(4).fill(uid).join('\t'))
  assert.equal(Gid, Array(4).fill(gid).join('\t'))
  assert.equal(Groups, `${gid} `)
  assert.equal(NoNewPrivs, '1')
  // capabilities(7): CAP_DAC_READ_SEARCH is 2.
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.equal(BigInt(`0x${status[set]}`), 4n, set)
  assert.equal(statusOf(pid)!.Uid, '0\t0\t0\t0')
})

for (const signal of ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const) {
  test(`${signal} ends an add as it would end one of a single process`, async t => {
    const { child, worker, exit } = await hangingAdd(t)
    child.kill(signal)
    assert.deepEqual(await exit, [null, signal])
    await until('nobody is left', () => statusOf(worker) === undefined)
  })
}

/** An add that waits for a Kubo that never answers, and the process that does the work. */
async function hangingAdd(t: TestContext) {
  let asked = false
  const server = await listen(t, incoming => {
    asked = true
    incoming.resume()
  })
  const args = ['add', secretFile(t), '--state', newState(t), '--blocks', `kubo:${server}`, '--deadline', '0']
  const running = start(t, args)
  await until('it asks Kubo', () => asked)
  const [worker] = childrenOf(running.pid)
  assert.ok(worker)
  return { ...running, worker }
}

test('what add says and how it ends come through', async t => {
  const state = newState(t)
  const at = ['--state', state]
  const missing = join(tempFolder(t), 'missing')
  assertFailed(await machine.cli(['add', missing, ...at]), [missing, 'ENOENT'])
  assertFailed(await machine.cli(['add', ...at]), ['add needs a path'], 2)
  const odd = join(tempFolder(t), '-odd name')
  writeFileSync(odd, 'x')
  const result = await machine.cli(['add', '--json', '--name', 'plain', ...at, '--', odd])
  assert.match(jsonLines<{ path: string }>(succeeded(result))[0]!.path, /-plain$/)
})

test("store paths of a Nix store that is root's are added with what Nix says of them", async t => {
  const nix = nixStore(t)
  const [sample] = await nix.build(sampleClosure)
  const inside = await userMachine(t, { nix: join(nix.root, 'nix') })
  const state = newState(t)
  const add = ['add', '--closure', sample!, '--state', state]
  const lines = succeeded(await inside.cli(add, { env: nix.env }))
    .toString()
    .trim()
    .split('\n')
  assert.equal(lines.length, 2)
  assert.equal(lines.at(-1), sample)
  const info = succeeded(await inside.cli(['info', '--json', sample!, '--state', state]))
  const [{ narHash, references, trust }] = jsonLines<{ narHash: string; references: string[]; trust: string }>(
    info,
  ) as [{ narHash: string; references: string[]; trust: string }]
  const known = (await nix.info(sample!))[0]!
  const hash = await output('nix', ['hash', 'to-base32', known.narHash, '--extra-experimental-features', 'nix-command'])
  assert.deepEqual(
    { narHash, references, trust },
    { narHash: `sha256:${hash.toString().trim()}`, references: known.references.sort(), trust: 'local' },
  )
  assert.deepEqual(ownersIn(state), [`${uid}:${gid}`])
  const unknown = `/nix/store/${'0'.repeat(32)}-x`
  assertFailed(await inside.cli(['add', unknown, '--state', state], { env: nix.env }), [unknown, 'not a valid path'])
})

test("a state of root's is handed over once, and a line says so", async t => {
  const state = newState(t)
  const file = secretFile(t)
  await doneText(['add', file, '--state', state])
  await doneText(['key', 'generate', 'key', '--state', state])
  assert.deepEqual(ownersIn(state), ['0:0'])
  const first = await machine.cli(['verify', '--state', state])
  assert.match(first.stderr, /^nix-ipfs-mount: [^\n]+ was handed over to nix-ipfs-mount[^\n]*\n$/)
  assert.ok(first.stderr.includes(state))
  assert.match(first.stdout.toString(), /: ok\n$/)
  assert.deepEqual(ownersIn(state), [`${uid}:${gid}`])
  assert.equal(lstatSync(join(state, 'secret-key')).mode & 0o7777, 0o600)
  await done(['verify', '--state', state])
})

test("another user's state is refused, and worked with as that user where one is named", async t => {
  const state = newState(t)
  await done(['ls', '--state', state])
  for (const command of [['ls'], ['add', secretFile(t)], ['key', 'generate', 'x'], [join(tempFolder(t), 'mnt')]]) {
    const result = await machine.cli([...command, '--state', state, '--user', 'daemon'])
    assertFailed(result, [state, `belongs to user id ${uid}`, 'not to daemon'])
    assertFailed(await cli([...command, '--state', state]), [state, 'not to root'])
  }
  await done(['key', 'generate', 'x', '--state', state, '--user', `${uid}`])
  await done(['key', 'public', '--state', state, '--user', SYSTEM_USER.name])
  const others = newState(t)
  const path = (await done(['add', secretFile(t), '--state', others, '--user', 'daemon'])).trim()
  assert.match(path, /-file$/)
  const daemon = (await output('id', ['-u', 'daemon'])).toString().trim()
  assert.deepEqual(ownersIn(others), [`${daemon}:${daemon}`])
})

test('the user may be named in the environment and in the configuration file', async t => {
  const file = join(tempFolder(t), 'config.json')
  writeFileSync(file, JSON.stringify({ user: 'root' }))
  const state = newState(t)
  succeeded(await machine.cli(['ls', '--state', state, '--config', file]))
  assert.deepEqual(ownersIn(state), ['0:0'])
  const other = newState(t)
  succeeded(await machine.cli(['ls', '--state', other], { env: { NIX_IPFS_USER: 'daemon' } }))
  assert.equal(ownersIn(other).length, 1)
  assert.notEqual(ownersIn(other)[0], '0:0')
})

test('without the user everything runs as root and a line says so, unless root was asked for', async t => {
  const bare = await userMachine(t, { user: false })
  const state = newState(t)
  const said = /^nix-ipfs-mount: running as root: the user nix-ipfs-mount does not exist[^\n]*--user root\n$/
  for (const command of [['add', secretFile(t)], ['ls'], ['key', 'generate', 'x']]) {
    const { code, stdout, stderr } = await bare.cli([...command, '--state', state])
    assert.equal(code, 0)
    assert.notEqual(stdout.toString(), '')
    assert.match(stderr, said)
    if (command[0] !== 'key') succeeded(await bare.cli([...command, '--state', state, '--user', 'root']))
  }
  assert.deepEqual(ownersIn(state), ['0:0'])
})

test('where the user cannot read the program it runs as root and says so, and a named user is refused', async t => {
  const closed = tempFolder(t)
  const script = [
    'set -e; node="$1"; checkout="$2"; program="$3"; shift 3',
    'mount -t tmpfs -o mode=700 none "$0"; mkdir "$0/package"; mount --bind "$checkout" "$0/package"',
    'exec "$node" "$0/package/$program" "$@"',
  ].join('\n')
  const program = cliProgram.slice(checkout.length + 1)
  const inside = (args: readonly string[]) =>
    machine.run('unshare', ['-m', 'sh', '-c', script, closed, machine.program[0], checkout, program, ...args])
  const state = newState(t)
  const { code, stdout, stderr } = await inside(['ls', '--json', '--state', state])
  assert.deepEqual({ code, stdout: stdout.toString() }, { code: 0, stdout: '[]\n' })
  assert.match(stderr, /^nix-ipfs-mount: running as root: the user nix-ipfs-mount cannot read [^\n]+\n$/)
  assert.deepEqual(ownersIn(state), ['0:0'])
  assertFailed(await inside(['ls', '--state', state, '--user', 'daemon']), [
    '--user daemon: this user cannot read',
    closed,
  ])
})

test('a user who does not exist is wrong usage', async t => {
  for (const command of [['ls'], ['add', '/etc/passwd'], [join(tempFolder(t), 'mnt')]]) {
    const state = newState(t)
    assertFailed(
      await machine.cli([...command, '--state', state, '--user', 'nobody-of-that-name']),
      ['--user nobody-of-that-name'],
      2,
    )
    assert.throws(() => lstatSync(state), /ENOENT/)
  }
  assertFailed(await machine.cli(['ls', '--user=']), ['--user'], 2)
})

test('a folder that is closed to the user is refused before anything is made in it', async t => {
  const closed = join(tempFolder(t), 'closed')
  mkdirSync(closed, { mode: 0o700 })
  const state = join(closed, 'state')
  assertFailed(await machine.cli(['ls', '--state', state]), [state, 'may not go there', '--user root'])
  assert.deepEqual(readdirSync(closed), [])
})

test('in a folder of its own a user makes the state, with the folders above it', async t => {
  const home = tempFolder(t)
  chownSync(home, uid, gid)
  const state = join(home, 'a', 'state')
  await done(['key', 'generate', 'x', '--state', state])
  assert.deepEqual(ownersIn(home), [`${uid}:${gid}`])
})

test('where the user cannot be taken, as in a user namespace of root alone, root stays root and says so', async t => {
  const state = newState(t)
  const namespace = ['--user', '--map-root-user', ...machine.program]
  const { code, stdout, stderr } = await machine.run('unshare', [...namespace, 'ls', '--json', '--state', state])
  assert.deepEqual({ code, stdout: stdout.toString() }, { code: 0, stdout: '[]\n' }, stderr)
  assert.match(stderr, /^nix-ipfs-mount: running as root: the user nix-ipfs-mount cannot be taken here [^\n]+\n$/)
})

test('the command for a server drops everything', async () => {
  const identity = { name: 'daemon', uid: 1, gid: 1, home: '/' }
  const status = async (options: Parameters<typeof asIdentity>[1]) => {
    const [command, ...args] = asIdentity(identity, options)
    return (await output(command!, [...args, 'cat', '/proc/self/status'])).toString()
  }
  const bare = await status({})
  assert.match(bare, /^Uid:\t1\t1\t1\t1$/m)
  assert.match(bare, /^Gid:\t1\t1\t1\t1$/m)
  assert.match(bare, /^NoNewPrivs:\t1$/m)
  assert.deepEqual(bare.match(/^Cap\w+:\t0+$/gm)?.length, 5)
  assert.deepEqual((await status({ readOthers: true })).match(/^Cap\w+:\t0+4$/gm)?.length, 5)
})
