import assert from 'node:assert/strict'
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { open } from 'lmdb'
import { mountStatus } from '../helpers/control.ts'
import {
  addTo,
  assertAllGone,
  type FailoverFixture,
  failoverFixture,
  mountByKernel,
  mountLine,
  serversAt,
  takenOver,
} from '../helpers/failover.ts'
import type { Mount } from '../helpers/mount.ts'
import { cli, output, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'

const REPLACED = /: the index was replaced by another, or by an older one of its own; mount again$/

/** Ways to put a copy of the index in the place of the one that is in use. */
const replacements: { name: string; replace(copy: string, data: string): Promise<unknown> }[] = [
  { name: 'by rename', replace: async (copy, data) => renameSync(copy, data) },
  {
    name: 'by overwriting it in place',
    replace: (copy, data) => output('dd', [`if=${copy}`, `of=${data}`, 'conv=notrunc']),
  },
  // Who reads a map of it meanwhile is sent SIGBUS.
  { name: 'by cutting it off and writing it anew', replace: (copy, data) => output('cp', [copy, data]) },
]

describe('an index that does not go with what the kernel knows', () => {
  const scope = suiteScope()
  let fixture: FailoverFixture
  before(async () => {
    fixture = await failoverFixture(scope)
  })

  /** A mount of a state whose index had a copy made of it before the last path was added. */
  async function rolledBackLater(t: TestContext) {
    const state = join(tempFolder(t, 'state'), 'state')
    const [early, late] = ['early', 'late'].map(name => join(tempFolder(t, 'tree'), name))
    for (const folder of [early!, late!]) {
      mkdirSync(folder)
      writeFileSync(join(folder, 'file'), folder)
    }
    const earlyName = await addTo(state, early!)
    const data = join(state, 'index', 'data.mdb')
    const copy = join(state, 'index', 'data.mdb.copy')
    copyFileSync(data, copy)
    const lateName = await addTo(state, late!)
    const mount = await mountByKernel(t, { state })
    // The kernel knows them.
    for (const name of [earlyName, lateName]) await output('cat', [`${mount.folder}/${name}/file`])
    return { mount, data, copy, file: `${mount.folder}/${lateName}/file` }
  }

  async function assertEnds(mount: Mount, file: string): Promise<void> {
    await until('the mount ends', () => mount.child.exitCode !== null)
    assert.equal(mount.child.exitCode, 1)
    const lines = mount.stderr().trimEnd().split('\n')
    assert.match(lines.pop()!, REPLACED)
    // Of servers that had a page taken from them while they looked at it.
    for (const line of lines) assert.match(line, /server \d+ ended \(SIGBUS\)/)
    await assertAllGone(mount.folder)
    assert.match((await run('cat', [file])).stderr, /No such file or directory/)
  }

  for (const { name, replace } of replacements) {
    test(`rolled back ${name}: the mount ends, with a line`, async t => {
      const { mount, data, copy, file } = await rolledBackLater(t)
      await replace(copy, data)
      await assertEnds(mount, file)
    })
  }

  test('rolled back while no server runs: the next one notices', async t => {
    const { mount, data, copy, file } = await rolledBackLater(t)
    process.kill(mount.supervisor, 'SIGSTOP')
    for (const pid of serversAt(mount.folder)) process.kill(pid, 'SIGKILL')
    renameSync(copy, data)
    process.kill(mount.supervisor, 'SIGCONT')
    await until('the mount ends', () => mount.child.exitCode !== null)
    assert.equal(mount.child.exitCode, 1)
    assert.match(mount.stderr().trimEnd().split('\n').at(-1)!, REPLACED)
    await assertAllGone(mount.folder)
    assert.match((await run('cat', [file])).stderr, /No such file or directory/)
  })

  test('that of another state, put there while no server runs, is noticed whatever its ids are', async t => {
    // Both directions, as one of the two has the higher ones.
    const states = await Promise.all(
      [1, 2].map(async seed => {
        const state = join(tempFolder(t, 'state'), 'state')
        const file = join(tempFolder(t, 'tree'), `file-${seed}`)
        writeFileSync(file, `${seed}`)
        await addTo(state, file)
        copyFileSync(join(state, 'index', 'data.mdb'), `${state}.copy`)
        return state
      }),
    )
    for (const [own, other] of [states, states.toReversed()]) {
      const mount = await mountByKernel(t, { state: own! })
      process.kill(mount.supervisor, 'SIGSTOP')
      for (const pid of serversAt(mount.folder)) process.kill(pid, 'SIGKILL')
      copyFileSync(`${other}.copy`, join(own!, 'index', 'data.new'))
      renameSync(join(own!, 'index', 'data.new'), join(own!, 'index', 'data.mdb'))
      process.kill(mount.supervisor, 'SIGCONT')
      await until('the mount ends', () => mount.child.exitCode !== null)
      assert.equal(mount.child.exitCode, 1)
      assert.match(mount.stderr().trimEnd().split('\n').at(-1)!, REPLACED)
      await assertAllGone(mount.folder)
      copyFileSync(`${own}.copy`, join(own!, 'index', 'data.new'))
      renameSync(join(own!, 'index', 'data.new'), join(own!, 'index', 'data.mdb'))
    }
  })

  test('a damaged page is EIO for what needs it, and all else is served', async t => {
    const state = join(tempFolder(t, 'state'), 'state')
    const [good, bad] = ['good', 'bad'].map(name => join(tempFolder(t, 'tree'), name))
    for (const folder of [good!, bad!]) {
      mkdirSync(join(folder, 'folder'), { recursive: true })
      writeFileSync(join(folder, 'beside'), 'beside')
      writeFileSync(join(folder, 'folder', `name-in-${folder.split('/').at(-1)}`), 'inside')
    }
    const names = [await addTo(state, good!), await addTo(state, bad!)]
    flipIn(join(state, 'index', 'data.mdb'), 'name-in-bad')
    const mount = await mountByKernel(t, { state })
    const { pid } = await mountStatus(mount.folder)
    const [goodPath, badPath] = names.map(name => `${mount.folder}/${name}`)
    assert.equal(`${await output('diff', ['-r', good!, goodPath!])}`, '')
    assert.equal(`${await output('cat', [`${badPath}/beside`])}`, 'beside')
    const said = `${await output(fixture.probe, ['listdir', `${badPath}/folder`, `${badPath}/folder/name-in-bad`, mount.folder])}`
    assert.deepEqual(said.trim().split('\n').slice(0, 2), ['EIO', 'EIO'])
    assert.match(mount.stderr(), /bad.*checksum does not match/)
    const status = await mountStatus(mount.folder)
    assert.equal(status.pid, pid)
    assert.ok(status.failures >= 2)
    assert.match(status.lastErrors.at(-1)!.message, /checksum does not match/)
    assert.ok(mountLine(mount.folder) !== undefined)
    assert.equal(`${await output('diff', ['-r', good!, goodPath!])}`, '')
  })

  test('a damaged row among the forgotten paths keeps nothing from being served, nor from coming', async t => {
    const state = join(tempFolder(t, 'state'), 'state')
    const folder = tempFolder(t, 'tree')
    const add = (name: string) => {
      writeFileSync(join(folder, name), name)
      return addTo(state, join(folder, name))
    }
    const lost = await add('lost')
    assert.equal((await cli(['forget', lost, '--state', state])).code, 0)
    const options = { keyEncoding: 'binary', encoding: 'binary' } as const
    const root = open<Buffer, Buffer>({ path: join(state, 'index'), maxDbs: 12, overlappingSync: false, ...options })
    const forgotten = root.openDB<Buffer, Buffer>({ name: 'forgotten', ...options })
    await forgotten.put(Buffer.from(lost), Buffer.from('damaged'))
    await root.close()
    const mount = await mountByKernel(t, { state })
    const comes = async (name: string) => {
      const baseName = await add(name)
      await until(`${name} is listed`, async () => `${await output('ls', [mount.folder])}`.includes(baseName))
      assert.equal(`${await output('cat', [`${mount.folder}/${baseName}`])}`, name)
    }
    await comes('first')
    const message = await until('status says what is damaged', async () => {
      return (await mountStatus(mount.folder)).lastErrors.at(-1)?.message
    })
    assert.match(message, /database forgotten.*checksum does not match/)
    const { pid } = await mountStatus(mount.folder)
    process.kill(pid, 'SIGKILL')
    const next = await takenOver(mount.folder, pid)
    await comes('second')
    assert.equal((await mountStatus(mount.folder)).pid, next)
  })
})

/** Flips a bit of each place where the file has this text. */
function flipIn(file: string, text: string): void {
  const bytes = readFileSync(file)
  const fd = openSync(file, 'r+')
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
    writeSync(fd, Buffer.of(bytes[at]! ^ 1), 0, 1, at)
  }
  closeSync(fd)
}
