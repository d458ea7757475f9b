import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { before, describe, test } from 'node:test'
import { buildDynamicClosure, type DynamicClosure } from '../helpers/dynamic-closure.ts'
import { kuboDaemon } from '../helpers/kubo-daemon.ts'
import { mountStore } from '../helpers/mount.ts'
import { noise, tempInMemory } from '../helpers/mount-fixture.ts'
import { assertNothingLeft, mountNamespace, type Namespace } from '../helpers/namespace.ts'
import { type NixStore, nixStore } from '../helpers/nix.ts'
import { output } from '../helpers/run.ts'
import { removeTree, tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'
import { assertFailed, done, listing, newState, succeeded } from './support.ts'

// A program whose interpreter and libraries are store paths, from local packs and from a real Kubo, as root and as a
// user without rights. The Nix store that it was built in is gone by then: the state's blocks are all there is.

/** Debian's nobody. */
const USER = 65534

const HOST_PATH = `${'0'.repeat(32)}-of-this-machine`

const scope = suiteScope()
const states = new Map<string, string>()
const dumps = new Map<string, Buffer>()
let closure: DynamicClosure
let kuboUrl = ''

before(async () => {
  await tempInMemory(scope)
  kuboUrl = `kubo:${(await kuboDaemon(scope)).rpc}`
  const nix = nixStore(scope)
  closure = await buildDynamicClosure(nix)
  for (const path of Object.values(closure)) dumps.set(path, await nix.dump(path))
  await assertWorks(nix)
  for (const [name, blocks] of [
    ['local packs', 'local'],
    ['Kubo', kuboUrl],
  ] as const) {
    const state = newState(scope)
    succeeded(await nix.cli(['add', '--closure', closure.script, '--state', state, '--blocks', blocks]))
    states.set(name, state)
  }
  removeTree(join(nix.root, 'nix'))
})

for (const blocks of ['local packs', 'Kubo']) {
  test(`a closure in ${blocks} is listed and read, and its NARs are Nix’s`, async t => {
    const state = states.get(blocks)!
    const names = (await listing(state)).map(({ name }) => name)
    assert.deepEqual(names.sort(), [...dumps.keys()].map(path => basename(path)).sort())
    const mount = await mountStore(t, { state })
    for (const [path, dump] of dumps) {
      assert.ok((await done(['nar', path, '--state', state])).equals(dump), path)
      assert.ok((await output('nix-store', ['--dump', `${mount.folder}/${basename(path)}`])).equals(dump), path)
    }
  })

  for (const [who, user] of [
    ['root', 0],
    ['a user without rights', USER],
  ] as const) {
    describe(`run by ${who}, blocks in ${blocks}`, () => runTests(blocks, user))
  }
}

function runTests(blocks: string, user: number): void {
  const own = suiteScope()
  let host: Namespace
  let state = ''
  before(async () => {
    state = newState(own)
    await output('cp', ['-a', states.get(blocks)!, state])
    await output('chown', ['-R', `${user}:${user}`, state])
    host = await hostNamespace(own, user)
  })

  const bash = () => `${closure.shell}/bin/bash`
  const words = (...words: string[]) => ['run', '--state', state, ...words]
  const run = (...args: string[]) => host.cli(words(...args))
  const runScript = (script: string, ...args: string[]) => run(bash(), '--', '-c', script, 'bash', ...args)

  test('it runs from the store: interpreter, libraries and program are the mount’s, and none is the machine’s', async () => {
    const script = 'while read -r _ _ _ _ _ file; do if [[ $file == /* ]]; then echo "$file"; fi; done </proc/$$/maps'
    const mapped = new Set(`${succeeded(await runScript(script))}`.trim().split('\n'))
    const { shell, interpreter, libraries } = closure
    for (const path of [shell, interpreter, libraries]) {
      assert.ok(
        [...mapped].some(file => file.startsWith(`${path}/`)),
        `${path} in ${[...mapped]}`,
      )
      assert.notEqual((await host.run('test', ['-e', path])).code, 0, 'it is not on the machine')
    }
    assert.deepEqual(
      [...mapped].filter(file => !file.startsWith('/nix/store/')),
      [],
    )
    assertNothingLeft(host)
  })

  test('its arguments are passed on as they are', async () => {
    const odd = ['one', '', 'two words', '--state', '-x', '--', '$HOME "q" \\', 'caf\u00e9\n']
    const said = succeeded(await runScript('printf "%s\\0" "$@"', ...odd))
    assert.deepEqual(`${said}`.split('\0').slice(0, -1), odd)
    assert.equal(`${succeeded(await run(`${closure.script}/bin/script`, '--', 'a', 'b c'))}`, 'script a b c\n')
  })

  test('its exit status is ours, and 128 + n for the signal that ended it', async () => {
    for (const status of [0, 42]) {
      const { code, stderr } = await runScript(`exit ${status}`)
      assert.deepEqual({ code, stderr }, { code: status, stderr: '' })
    }
    for (const [signal, number] of [
      ['TERM', 15],
      ['KILL', 9],
    ] as const) {
      const { code } = await runScript(`ulimit -c 0; kill -${signal} $$`)
      assert.equal(code, 128 + number, signal)
    }
    assertNothingLeft(host)
  })

  test('its standard streams are ours', async () => {
    const input = noise(9, 300_000)
    const script = 'exec 3>&1; echo to stderr >&2; exec cat'
    const { code, stdout, stderr } = await host.cli(words(bash(), '--', '-c', script), { input })
    assert.deepEqual({ code, stderr }, { code: 0, stderr: 'to stderr\n' })
    assert.ok(stdout.equals(input))
  })

  test('environment and working folder are ours, and so is the user, without any capability', async () => {
    const script = 'cd "$0" && exec "$@"'
    const inside =
      'echo "$MARK $PWD $UID $EUID"; while read -r l; do if [[ $l == CapEff:* ]]; then echo "$l"; fi; done </proc/$$/status'
    const env = { MARK: 'a mark' }
    const args = words(bash(), '--', '-c', inside)
    const { stdout, code } = await host.cli(args, { env }, ['sh', '-c', script, host.temporary])
    const [who, capabilities] = `${stdout}`.split('\n')
    assert.deepEqual({ code, who }, { code: 0, who: `a mark ${host.temporary} ${user} ${user}` })
    if (user !== 0) assert.match(capabilities!, /^CapEff:\s+0+$/)
  })

  test('/nix/store shows the mount’s paths and the machine’s, and is read-only', async () => {
    const script = `cd /nix/store; printf '%s\\n' *; read -r line < ${HOST_PATH}; echo "$line"; : > new`
    const { stdout, stderr } = await runScript(script)
    const expected = [...[...dumps.keys()].map(path => basename(path)), HOST_PATH].sort()
    assert.deepEqual(`${stdout}`.trim().split('\n'), [...expected, 'the machine’s own'])
    assert.match(stderr, /new: Read-only file system\n$/)
    // Nobody else sees it.
    assert.equal(`${(await host.run('ls', ['/nix/store'])).stdout}`, `${HOST_PATH}\n`)
  })

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) {
    test(`${signal} is passed on, and what the program makes of it is the end`, async () => {
      const script = `ulimit -c 0; trap 'echo got ${signal}; exit 7' ${signal}; echo ready; while :; do read -r -t 0.1; done`
      const child = startScript(script)
      await child.ready
      child.process.kill(signal)
      assert.deepEqual(await child.ended(), { code: 7, signal: null, stdout: `ready\ngot ${signal}\n`, stderr: '' })
      assertNothingLeft(host)
    })
  }

  test('a program without a handler ends by the signal', async () => {
    const child = startScript('echo ready; while :; do read -r -t 0.1; done')
    await child.ready
    child.process.kill('SIGTERM')
    assert.deepEqual(await child.ended(), { code: 143, signal: null, stdout: 'ready\n', stderr: '' })
    assertNothingLeft(host)
  })

  test('what is typed at a terminal reaches the program once', async () => {
    const script =
      'trap "echo INTERRUPTED" INT; echo ready; read -r line; echo "line $line"; read -r line; echo "line $line"'
    const inner = words(bash(), '--', '-c', script)
    const { child, said } = startAtTerminal(inner)
    await until('the program waits', () => said().includes('ready'))
    child.stdin.write('\x03')
    await until('it has the signal', () => said().includes('INTERRUPTED'))
    child.stdin.write('first\nsecond\n')
    await once(child, 'close')
    assert.equal(said().split('INTERRUPTED').length - 1, 1, said())
    assert.match(said(), /line second/)
    assertNothingLeft(host)
  })

  test('run is killed by SIGKILL: the program goes with it, and nothing stays', async () => {
    const child = startScript('echo ready; while :; do read -r -t 0.1; done')
    await child.ready
    assert.equal(host.mounts().length, 1)
    child.process.kill('SIGKILL')
    await until('everything is gone', () => host.processes().length === 0)
    assertNothingLeft(host)
  })

  test('two at once of the same state', async () => {
    const children = [1, 2].map(() => startScript('echo ready; read -r line; echo "$line"'))
    await Promise.all(children.map(child => child.ready))
    for (const [i, child] of children.entries()) child.process.stdin.end(`${i}\n`)
    for (const [i, child] of children.entries()) {
      assert.deepEqual(await child.ended(), { code: 0, signal: null, stdout: `ready\n${i}\n`, stderr: '' })
    }
    assertNothingLeft(host)
  })

  test('a program that cannot be run: one line, status 1', async () => {
    const file = `${closure.libraries}/lib/libc.so.6`
    const data = join(host.temporary, 'data')
    writeFileSync(data, 'no program\n', { mode: 0o644 })
    for (const [program, why] of [
      [`${closure.shell}/bin/nothing`, 'there is no such file'],
      [`${file}/below`, 'there is no such file'],
      ['no-such-program-anywhere', 'no such program in PATH'],
      [closure.shell, 'is not a program'],
      [data, 'is not executable'],
    ] as const) {
      assertFailed(await run(program, '--', 'x'), [program, why])
    }
    removeTree(data)
    assertNothingLeft(host)
  })

  test('a program of the machine runs too, and sees the store', async () => {
    const said = succeeded(await run('ls', '--', closure.shell))
    assert.equal(`${said}`, 'bin\n')
  })

  test('a block store other than the state’s is refused', async () => {
    const other = blocks === 'Kubo' ? 'local' : kuboUrl
    assertFailed(await run(bash(), '--blocks', other), [state, other])
    assertNothingLeft(host)
  })

  function startScript(script: string) {
    const process = host.start(words(bash(), '--', '-c', script))
    const [stdout, stderr] = [buffer(process.stdout), text(process.stderr)]
    const closed = once(process, 'close')
    return {
      process,
      ready: once(process.stdout, 'data', { signal: AbortSignal.timeout(30_000) }),
      ended: async () => {
        const [code, signal] = await closed
        return { code, signal, stdout: `${await stdout}`, stderr: await stderr }
      },
    }
  }

  /** script(1) gives it a terminal of its own. */
  function startAtTerminal(args: readonly string[]) {
    const script = 'SHELL=/bin/bash exec script -q -e -c "$(printf "%q " "$@")" /dev/null'
    const child = host.start(args, ['bash', '-c', script, 'bash'])
    let said = ''
    child.stdout.on('data', chunk => {
      said += chunk
    })
    return { child, said: () => said }
  }
}

/** A machine whose store has a path of its own. */
async function hostNamespace(t: { after(clean: () => unknown): void }, user: number): Promise<Namespace> {
  const nix = tempFolder(t, 'host')
  mkdirSync(join(nix, 'store'))
  writeFileSync(join(nix, 'store', HOST_PATH), 'the machine’s own\n')
  return mountNamespace(t, { nix, user })
}

/** Nix found the references, and what it built runs where Nix put it. */
async function assertWorks(nix: NixStore): Promise<void> {
  const { script, shell, interpreter, libraries } = closure
  const references = async (path: string) => (await nix.info(path))[0]!.references.sort()
  assert.deepEqual(await references(script), [shell])
  assert.deepEqual(await references(shell), [interpreter, libraries].sort())
  assert.equal(`${await nix.output(`${script}/bin/script`, ['x'])}`, 'script x\n')
}
