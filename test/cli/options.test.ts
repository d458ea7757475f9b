import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { cli } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { addOne, assertFailed, doneText, newState } from './support.ts'

// Options, environment, configuration file, and what becomes of wrong usage.

const scope = { after }
const work = tempFolder(scope)
const commands = ['add', 'info', 'ls', 'cat', 'nar', 'forget']

/** All commands there are, as `--help` lists them. */
async function listedCommands(): Promise<string[]> {
  const matches = (await doneText(['--help'])).matchAll(/^ {2}nix-ipfs-mount ([a-z]+) /gm)
  return [...matches].map(match => match[1]!)
}

/** Three states, each with one path of the state's own name. */
const states = { option: newState(scope), environment: newState(scope), file: newState(scope) }
const configuration = join(work, 'states.json')

before(async () => {
  writeFileSync(configuration, JSON.stringify({ state: states.file }))
  for (const [name, state] of Object.entries(states)) {
    writeFileSync(join(work, name), name)
    await addOne(state, [join(work, name)])
  }
})

function assertUsage(result: Awaited<ReturnType<typeof cli>>, ...says: string[]): void {
  assertFailed(result, says, 2)
}

test('every --help ends well and has an example', async () => {
  for (const command of [[], ...(await listedCommands()).map(name => [name])]) {
    const help = await doneText([...command, '--help'])
    assert.match(help, /nix-ipfs-mount/)
    assert.match(help, /Examples:\n\s+nix-ipfs-mount /)
    for (const option of ['--state', '--json', '--verbose', '--config', '--blocks', '--user'])
      assert.ok(help.includes(option))
  }
})

test('--help of the program names every command', async () => {
  const listed = await listedCommands()
  for (const command of commands) assert.ok(listed.includes(command), command)
})

test('--version prints the version of package.json', async () => {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  assert.equal(await doneText(['--version']), `${JSON.parse(text).version}\n`)
})

test('wrong usage exits with 2 and one line', async () => {
  const file = join(work, 'option')
  const state = ['--state', states.option]
  assertUsage(await cli([]))
  assertUsage(await cli(['frobnicate']), 'frobnicate')
  assertUsage(await cli(['frobnicate', 'some/thing']))
  assertUsage(await cli(['ls', '--frobnicate', ...state]), 'frobnicate')
  assertUsage(await cli(['ls', '-x', ...state]), 'x')
  assertUsage(await cli(['ls', 'a', 'b', ...state]))
  assertUsage(await cli(['ls', '--state']), 'state')
  assertUsage(await cli(['ls', '--state=']), '--state')
  for (const command of commands.filter(name => name !== 'ls')) assertUsage(await cli([command, ...state]))
  assertUsage(await cli(['add', '--nar', '-', ...state]), '--name')
  assertUsage(await cli(['add', '--nar', '-', '--name', 'x', file, ...state]), '--nar')
  assertUsage(await cli(['add', '--nar', '-', '--name', 'x', '--closure', ...state]), '--closure')
  assertUsage(await cli(['add', '--closure', file, ...state]), '--closure')
  assertUsage(await cli(['add', '--name', 'x', file, file, ...state]), '--name')
  assertUsage(await cli(['ls', '--blocks', 'nonsense', ...state]), 'nonsense')
  assertUsage(await cli([join(work, 'mountpoint'), '--driver', 'nonsense', ...state]), 'nonsense')
})

test("a name that is no store path's name is wrong usage", async t => {
  const state = newState(t)
  const file = join(work, 'option')
  for (const name of ['', '.', '..', 'a b', 'a/b', 'ä', 'x\n', 'a'.repeat(212)]) {
    assertUsage(await cli(['add', file, `--name=${name}`, '--state', state]), 'name')
  }
  const spaced = join(work, 'with space')
  writeFileSync(spaced, 'x')
  assertUsage(await cli(['add', spaced, '--state', state]), spaced, '--name')
  assert.match(await doneText(['add', spaced, '--name', 'a'.repeat(211), '--state', state]), /-a{211}\n$/)
})

test('--verbose shows where an error comes from', async () => {
  const unknown = 'a'.repeat(32)
  const quiet = await cli(['info', '--state', states.option, unknown])
  assertFailed(quiet, [unknown])
  for (const options of [
    { args: ['--verbose'], env: {} },
    { args: [], env: { NIX_IPFS_VERBOSE: '1' } },
  ]) {
    const result = await cli(['info', '--state', states.option, unknown, ...options.args], { env: options.env })
    assert.equal(result.code, 1)
    assert.ok(result.stderr.startsWith(quiet.stderr))
    assert.match(result.stderr, /\n {4}at /)
    assert.equal(result.stdout.length, 0)
  }
})

/** Names of the paths in the state that these options choose. */
async function chosen(args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const text = await doneText(['ls', ...args], { env })
  return text.trim().slice(33)
}

test('an option goes before the environment, and that before the configuration file', async () => {
  const env = { NIX_IPFS_STATE: states.environment }
  assert.equal(await chosen(['--state', states.option, '--config', configuration], env), 'option')
  assert.equal(await chosen(['--config', configuration], env), 'environment')
  assert.equal(await chosen(['--config', configuration], {}), 'file')
  assert.equal(await chosen([], { NIX_IPFS_CONFIG: configuration }), 'file')
  assert.equal(await chosen([], env), 'environment')
})

test('an option given twice is wrong usage, a flag is not', async () => {
  assertUsage(await cli(['ls', '--state', states.file, '--state', states.option]), 'state')
  assert.equal(await doneText(['ls', '--json', '--json', '--state', newState(scope)]), '[]\n')
})

test('a flag may come from anywhere, and an option turns it off', async () => {
  const json = join(work, 'json.json')
  writeFileSync(json, JSON.stringify({ json: true }))
  const ls = async (args: string[], env: NodeJS.ProcessEnv = {}) =>
    (await doneText(['ls', '--state', states.option, ...args], { env })).startsWith('[')
  assert.equal(await ls(['--json']), true)
  assert.equal(await ls([], { NIX_IPFS_JSON: '1' }), true)
  assert.equal(await ls([], { NIX_IPFS_JSON: 'true' }), true)
  assert.equal(await ls([], { NIX_IPFS_JSON: '0' }), false)
  assert.equal(await ls(['--no-json'], { NIX_IPFS_JSON: '1' }), false)
  assert.equal(await ls(['--config', json]), true)
  assert.equal(await ls(['--config', json], { NIX_IPFS_JSON: '0' }), false)
  assert.equal(await ls(['--config', json, '--no-json']), false)
  assertUsage(await cli(['ls', '--state', states.option], { env: { NIX_IPFS_JSON: 'perhaps' } }), 'NIX_IPFS_JSON')
})

test('a configuration file that is wrong is refused', async () => {
  const wrong = join(work, 'wrong.json')
  for (const [text, says] of [
    ['{"stat": "/somewhere"}', 'stat'],
    ['{"state": 7}', 'state'],
    ['state = x', 'JSON'],
  ] as const) {
    writeFileSync(wrong, text)
    assertUsage(await cli(['ls', '--state', states.option, '--config', wrong]), wrong, says)
  }
  assertUsage(await cli(['ls', '--config', join(work, 'absent.json')]), 'absent.json')
})
