import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { onCleanup } from '../helpers/cleanup.ts'
import { mountStore } from '../helpers/mount.ts'
import { cli, output, run, stopProcess } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { inMount, type Shared } from './mount.ts'

/** Paths in the root while it changes. */
const STABLE_PATHS = 60

export function listingTests(shared: Shared): void {
  test('seekdir finds every place of telldir in a large folder, backwards and in no order', async () => {
    const { fixture, mounted } = shared()
    for (const folder of ['many', 'names', 'empty-folder']) {
      const { code, stdout, stderr } = await run(fixture.probe, ['seekdir', `${mounted}/${folder}`, '5'])
      assert.equal(code, 0, `${folder}: ${stdout}${stderr}`)
    }
  })

  test('while paths come and go, a listing of the root has no name twice, and none is lost that was always there', async t => {
    const state = tempFolder(t, 'state')
    const stable = await addFiles(t, state, 'stable', STABLE_PATHS)
    const { driver, fixture } = shared()
    const mount = await mountStore(t, { state, args: driver.args })
    const child = spawn(fixture.probe, ['relist', mount.folder], { stdio: ['pipe', 'pipe', 'inherit'] })
    onCleanup(t, () => stopProcess(child, 'SIGKILL'))
    const ended = once(child, 'close')
    const said = text(child.stdout)
    for (let round = 0; round < 3; round++) {
      const passing = await addFiles(t, state, `passing-${round}`, 8)
      const gone = round === 1 ? passing : passing.slice(2)
      const { code, stderr } = await cli(['forget', ...gone.map(path => basename(path)), '--state', state])
      assert.equal(code, 0, stderr)
    }
    child.stdin.end()
    const [listings, ...names] = (await said).trim().split('\n')
    assert.deepEqual(await ended, [0, null], listings)
    assert.ok(Number(listings) > 3, `${listings} listings`)
    const always = new Set(names.map(name => Buffer.from(name, 'hex').toString()))
    for (const path of stable) assert.ok(always.has(basename(path)), `${path} was missing once`)
    const left = async () => `${await output('ls', ['-A', mount.folder])}`.trim().split('\n').length
    await until('what is left is listed', async () => (await left()) === STABLE_PATHS + 4)
  })

  test('folders with equal content are where they are, for getcwd and /bin/pwd', async t => {
    const state = tempFolder(t, 'state')
    const places = ['same', 'other/same', 'other/deeper/same']
    const paths = ['first', 'second'].map(name => {
      const folder = join(tempFolder(t, 'tree'), name)
      for (const place of places) {
        mkdirSync(join(folder, place, 'below'), { recursive: true })
        writeFileSync(join(folder, place, 'below', 'file'), 'the same everywhere\n')
      }
      return folder
    })
    const added = await addAll(state, paths)
    const mount = await mountStore(t, { state, args: shared().driver.args })
    const folders = added.flatMap(path =>
      places.flatMap(place => [`${inMount(mount, path)}/${place}`, `${inMount(mount, path)}/${place}/below`]),
    )
    assert.equal(`${await output(shared().fixture.probe, ['cwd', ...folders])}`, '')
    const script = 'for folder; do cd "$folder" && /bin/pwd; done'
    const said = `${await output('sh', ['-c', script, 'sh', ...folders, ...folders])}`
    assert.deepEqual(said.trim().split('\n'), [...folders, ...folders])
    // Each alone under its number.
    const inodes = `${await output('stat', ['-c', '%i', ...folders])}`.trim().split('\n')
    assert.equal(new Set(inodes).size, folders.length)
  })
}

/** Adds small files as paths of their own. */
function addFiles(t: TestContext, state: string, label: string, count: number): Promise<string[]> {
  const folder = tempFolder(t, 'files')
  const files = Array.from({ length: count }, (_, i) => join(folder, `${label}-${i}`))
  for (const file of files) writeFileSync(file, `${basename(file)}\n`)
  return addAll(state, files)
}

async function addAll(state: string, paths: readonly string[]): Promise<string[]> {
  const { code, stdout, stderr } = await cli(['add', ...paths, '--state', state])
  assert.equal(code, 0, stderr)
  return `${stdout}`.trim().split('\n')
}
