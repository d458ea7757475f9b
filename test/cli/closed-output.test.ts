import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestScope } from '../helpers/cleanup.ts'
import { cleanSettings, cliProgram, output, type RunResult, run } from '../helpers/run.ts'
import { verifyState } from '../helpers/store.ts'
import { isMounted, tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { start } from './processes.ts'
import { type AddedLine, addOne, known, newState, sampleTree } from './support.ts'

// Standard output whose reader goes away, as in `ls -R | head -n1`: every command ends as SIGPIPE ends other tools, so
// that a shell with pipefail sees that it did not do all of its work.

/** What a shell gives as the status of a process that a SIGPIPE ended. */
const SIGPIPE_STATUS = 128 + constants.signals.SIGPIPE

const scope = { after }
const state = newState(scope)
const tree = join(tempFolder(scope), 'tree')
let added: AddedLine

before(async () => {
  sampleTree(tree)
  // Its listing takes more than a pipe holds.
  mkdirSync(join(tree, 'many'))
  for (let i = 0; i < 2000; i++) writeFileSync(join(tree, 'many', `${i}`.padEnd(200, '-')), '')
  added = await addOne(state, [tree])
})

/** Runs the program with a reader that ends before anything is written. */
function unread(t: TestScope, args: readonly string[]): Promise<RunResult> {
  const script = 'set -o pipefail; (until test -e "$0"; do sleep 0.05; done; exec "$@") | { exec 0<&-; touch "$0"; }'
  return bash(script, [join(tempFolder(t), 'gone'), process.execPath, cliProgram, ...args])
}

function bash(script: string, args: readonly string[]): Promise<RunResult> {
  return run('bash', ['-c', script, ...args], { env: cleanSettings() })
}

test('what only reads ends without a word when nobody reads it', async t => {
  const commands = [
    ['ls', '-R', added.path],
    ['ls', '-R', '--json'],
    ['info', added.path],
    ['nar', added.path],
    ['cat', `${added.path}/sub/large`],
    ['verify'],
  ]
  for (const command of commands) {
    const { code, stderr } = await unread(t, [...command, '--state', state])
    assert.deepEqual({ code, stderr }, { code: SIGPIPE_STATUS, stderr: '' }, command.join(' '))
  }
})

test('a long listing gives the line that is wanted and ends', async () => {
  for (const args of [
    ['ls', '-R', added.path],
    ['ls', '-lR'],
  ]) {
    const command = [process.execPath, cliProgram, ...args, '--state', state]
    const result = await bash('set -o pipefail; "$@" | head -n1', ['bash', ...command])
    assert.equal(result.code, SIGPIPE_STATUS)
    assert.equal(result.stderr, '')
    assert.equal(result.stdout.toString().split('\n').length, 2)
  }
})

test('an add that nobody listens to ends in the middle, and does not say that it is done', async t => {
  const folder = tempFolder(t)
  // More than one commit takes.
  const files = Array.from({ length: 300 }, (_, i) => join(folder, `file-${i}`))
  for (const file of files) writeFileSync(file, `contents of ${file}`)
  const target = newState(t)
  const { code, stderr } = await unread(t, ['add', '--state', target, ...files])
  assert.deepEqual({ code, stderr }, { code: SIGPIPE_STATUS, stderr: '' })
  // What was committed before it wanted to tell of it is whole.
  const paths = await known(target)
  assert.ok(paths.length > 0 && paths.length < files.length, `${paths.length} paths`)
  assert.ok((await verifyState(target)).every(({ ok }) => ok))
})

test('a mount whose standard output nobody reads serves all the same', async t => {
  const folder = tempFolder(t)
  const { child, ended } = start(t, [folder, '--state', state])
  child.stdout.destroy()
  await until('it is mounted', () => isMounted(folder))
  const hello = join(folder, basename(added.path), 'hello.txt')
  assert.equal((await output('cat', [hello])).toString(), 'hello\n')
  child.kill('SIGTERM')
  const { code, stderr } = await ended
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
})
