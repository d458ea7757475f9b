import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { cidText, rawCid, sha256 } from '../../src/cid.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { freePort, type KuboDaemon, kuboDaemon } from '../helpers/kubo-daemon.ts'
import { kuboProxy } from '../helpers/kubo-proxy.ts'
import { type Mount, mountStore } from '../helpers/mount.ts'
import { noise } from '../helpers/mount-fixture.ts'
import { strangers } from '../helpers/not-kubo.ts'
import { cli, output, run, stopProcess } from '../helpers/run.ts'
import { isMounted, tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { inMount, type Shared } from './mount.ts'
import { assertRefused } from './mount-life-cycle.ts'

const MIB = 1024 * 1024

/** What is read before something happens to the node; the rest of the file is read after. */
const FIRST_BYTES = 64 * 1024

const READERS = 8

/** Everything that may happen to the node while what it keeps is mounted. */
export function outageTests(shared: Shared, node: () => KuboDaemon): void {
  test('a block that comes back altered is EIO and a log line with path, CID and URL, never a wrong byte', async t => {
    const proxy = await kuboProxy(t, node().rpc)
    const { mount, path, contents, blocks } = await mountOf(t, proxy.url, 1, [])
    proxy.change = (block, asked) => {
      if (asked !== blocks[1]) return block
      const copy = Buffer.from(block)
      copy[1234]! ^= 0x10
      return copy
    }
    const pieces = [0, 1, 2].map(i => contents.large.subarray(i * MIB, (i + 1) * MIB))
    for (const how of ['direct', 'cached']) {
      const input = pieces.map((bytes, i) => `${i * MIB} ${bytes.length}`).join('\n')
      const said = await output(shared().fixture.probe, ['pread', how, `${path}/large`], { input })
      const [first, , third] = pieces.map(bytes => Buffer.concat([Buffer.from(`${bytes.length}\n`), bytes]))
      assert.ok(said.equals(Buffer.concat([first!, Buffer.from('EIO\n'), third!])), how)
    }
    assertSaid(mount, [`${basename(path)}/large`, blocks[1]!, proxy.url])
    proxy.change = undefined
    await readsAgain(`${path}/large`, contents.large)
  })

  test('a block that Kubo lost is EIO once the deadline is over, and what is here goes on', async t => {
    const { mount, path, contents, blocks } = await mountOf(t, node().rpc, 2)
    node().ipfs(['block', 'rm', blocks[1]!])
    assert.deepEqual(await inspect('read', [`${path}/large`, `${path}/small`]), ['EIO', `${contents.small.length}`])
    assertSaid(mount, [`${basename(path)}/large`, blocks[1]!, node().rpc, 'within 2 s'])
    node().ipfs(['block', 'put', '--cid-codec', 'raw'], contents.large.subarray(MIB, 2 * MIB))
    await readsAgain(`${path}/large`, contents.large)
  })

  test('a node that dies in the middle of a read: the bytes so far, then EIO; it returns, and all is read', async t => {
    const own = await kuboDaemon(t)
    const { mount, path, contents } = await mountOf(t, own.rpc, 3)
    const reader = await startReading(t, `${path}/large`)
    await own.end('SIGKILL')
    const { bytes, stderr, code } = await reader.finish()
    assert.equal(code, 1)
    assert.match(stderr, /Input\/output error\n$/)
    assert.ok(bytes.length >= FIRST_BYTES && bytes.length < contents.large.length, `${bytes.length} bytes`)
    assert.ok(bytes.equals(contents.large.subarray(0, bytes.length)))
    assertSaid(mount, [`${basename(path)}/large`, own.rpc, 'ECONNREFUSED'])
    // The index needs no node.
    assert.equal(`${await output('ls', [path])}`, 'large\nsmall\n')

    await own.start()
    await readsAgain(`${path}/large`, contents.large)
    await readsAgain(`${path}/small`, contents.small)
  })

  test('a node that is back before the deadline: the reader waits, and gets everything', async t => {
    const own = await kuboDaemon(t)
    const { mount, path, contents } = await mountOf(t, own.rpc, 4, ['--deadline', '60'])
    const reader = await startReading(t, `${path}/large`)
    await own.end('SIGKILL')
    const rest = reader.finish()
    await own.start()
    const { bytes, stderr, code } = await rest
    assert.deepEqual({ stderr, code }, { stderr: '', code: 0 })
    assert.ok(bytes.equals(contents.large))
    assert.equal(mount.stderr(), '')
  })

  test('who waits for a block that does not come keeps nobody else waiting', async t => {
    const proxy = await kuboProxy(t, node().rpc)
    const { mount, path, contents } = await mountOf(t, proxy.url, 5, ['--deadline', '60'])
    assert.ok((await readBack(`${path}/small`)).equals(contents.small))
    const release = proxy.hold()
    const waiting = Array.from({ length: READERS }, () => readBack(`${path}/large`))
    await until('Kubo is asked', () => (proxy.asked.get('block/get') ?? 0) > 1)
    let waits = true
    void Promise.race(waiting).then(() => {
      waits = false
    })
    assert.equal(`${await output('ls', [mount.folder])}`, `${basename(path)}\n`)
    assert.equal(`${await output('stat', ['-c', '%s', `${path}/large`])}`, `${contents.large.length}\n`)
    const direct = ['pread', 'direct', `${path}/small`]
    const small = await output(shared().fixture.probe, direct, { input: `0 ${contents.small.length}` })
    assert.ok(small.equals(Buffer.concat([Buffer.from(`${contents.small.length}\n`), contents.small])))
    assert.ok(waits, 'all of this came before the block')
    release()
    for (const bytes of await Promise.all(waiting)) assert.ok(bytes.equals(contents.large))
    assert.equal(mount.stderr(), '')
  })

  test('what is not Kubo, or does not let us in: mounted with one line, listed, and read as soon as it does', async t => {
    const proxy = await kuboProxy(t, node().rpc)
    const { state, added, contents } = await stateOf(t, proxy.url, 6)
    proxy.instead = strangers.find(({ status }) => status === 401)!
    const mount = await mountIt(t, state, ['--deadline', '1'])
    const path = inMount(mount, added)
    await until('it says so', () => mount.stderr() !== '')
    assert.match(mount.stderr(), /^nix-ipfs-mount: [^\n]*wants authorisation[^\n]*\n$/)
    assert.ok(mount.stderr().includes(proxy.url))
    assert.equal(`${await output('stat', ['-c', '%s', `${path}/large`])}`, `${contents.large.length}\n`)
    for (const answer of strangers) {
      proxy.instead = answer
      const logged = mount.stderr().length
      assert.deepEqual(await inspect('read', [`${path}/large`]), ['EIO'], answer.what)
      const lines = mount.stderr().slice(logged).trim().split('\n')
      for (const line of lines)
        for (const part of [`${basename(path)}/large`, proxy.url]) assert.ok(line.includes(part))
      // What comes with status 200 could be a block, and is not the one that was asked for.
      assert.match(lines[0]!, answer.status === 200 ? /returned others/ : answer.says, answer.what)
    }
    proxy.instead = undefined
    await readsAgain(`${path}/large`, contents.large)
  })

  test('a node that is not there: mounted with one line, listed, EIO after the deadline, read when it comes', async t => {
    const own = await kuboDaemon(t)
    const { state, added, contents } = await stateOf(t, own.rpc, 7)
    await own.end('SIGTERM')
    const mount = await mountIt(t, state, ['--deadline', '1'])
    const path = inMount(mount, added)
    await until('it says so', () => mount.stderr() !== '')
    assert.match(mount.stderr(), /^nix-ipfs-mount: [^\n]*cannot be reached \(ECONNREFUSED\)[^\n]*\n$/)
    assert.ok(mount.stderr().includes(own.rpc))
    assert.equal(`${await output('ls', [mount.folder])}`, `${basename(path)}\n`)
    assert.deepEqual(await inspect('read', [`${path}/small`]), ['EIO'])
    assertSaid(mount, [`${basename(path)}/small`, own.rpc, 'ECONNREFUSED'])
    await own.start()
    for (const name of ['small', 'large'] as const) await readsAgain(`${path}/${name}`, contents[name])
  })

  test('a block store other than the state’s is refused, and nothing is mounted; its own may be named', async t => {
    const { state, added } = await stateOf(t, node().rpc, 8)
    const folder = tempFolder(t, 'mount')
    for (const blocks of ['local', `kubo:http://127.0.0.1:${await freePort()}`]) {
      const args = [folder, '--state', state, ...shared().driver.args, '--blocks', blocks]
      const result = await cli(args, { timeout: 20_000 })
      assertRefused(result, new RegExp(`keeps its blocks in kubo:${node().rpc}, not ${blocks}`))
      assert.ok(!isMounted(folder))
    }
    const mount = await mountIt(t, state, ['--blocks', `kubo:${node().rpc}/`])
    assert.equal(`${await output('ls', [inMount(mount, added)])}`, 'large\nsmall\n')
  })

  const inspect = async (how: string, paths: readonly string[]) =>
    `${await output(shared().fixture.probe, [how, ...paths])}`.trim().split('\n')

  const readBack = (file: string) => output('cat', [file])

  /** Without anybody doing anything; the first tries may still meet a node that is slow to start. */
  async function readsAgain(file: string, expected: Buffer): Promise<void> {
    const { stdout } = await until(`${file} is read again`, async () => {
      const result = await run('cat', [file])
      return result.code === 0 && result
    })
    assert.ok(stdout.equals(expected), file)
  }

  const mountIt = (t: TestContext, state: string, args: readonly string[] = []) =>
    mountStore(t, { state, args: [...shared().driver.args, ...args] })

  /** A mount of a state of its own; a deadline of two seconds unless there are other arguments. */
  async function mountOf(t: TestContext, url: string, seed: number, args: readonly string[] = ['--deadline', '2']) {
    const made = await stateOf(t, url, seed)
    const mount = await mountIt(t, made.state, args)
    return { ...made, mount, path: inMount(mount, made.added) }
  }
}

/** A new state with its blocks in the node at the URL, unpinned: a folder with a file of three blocks and a small one. */
async function stateOf(t: TestContext, url: string, seed: number) {
  const state = join(tempFolder(t, 'state'), 'state')
  const contents = { large: noise(40 + seed, 3 * MIB - 100), small: noise(60 + seed, 1000) }
  const folder = join(tempFolder(t, 'tree'), 'tree')
  mkdirSync(folder)
  for (const [name, bytes] of Object.entries(contents)) writeFileSync(join(folder, name), bytes)
  const { code, stdout, stderr } = await cli(['add', folder, '--no-pin', '--state', state, '--blocks', `kubo:${url}`])
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  const blocks = [0, 1, 2].map(i => cidText(rawCid(sha256(contents.large.subarray(i * MIB, (i + 1) * MIB)))))
  return { state, contents, blocks, added: `${stdout}`.trim() }
}

/** Reads the first bytes of a file, and the rest when it is told to. */
async function startReading(t: TestContext, file: string): Promise<{ finish(): Promise<Reading> }> {
  const script = `exec 5<"$0"; dd bs=${FIRST_BYTES} count=1 status=none <&5; read -r _; exec cat <&5`
  const child = spawn('sh', ['-c', script, file])
  onCleanup(t, () => stopProcess(child, 'SIGKILL'))
  const ended = once(child, 'close')
  const [bytes, errors] = [buffer(child.stdout), text(child.stderr)]
  await once(child.stdout, 'data', { signal: AbortSignal.timeout(30_000) })
  return {
    finish: async () => {
      child.stdin.end('\n')
      const [code] = await ended
      return { code, bytes: await bytes, stderr: await errors }
    },
  }
}

interface Reading {
  code: number | null
  bytes: Buffer
  stderr: string
}

/** One of the mount's lines has all of these. */
function assertSaid(mount: Mount, parts: readonly string[]): void {
  const lines = mount.stderr().trim().split('\n')
  assert.ok(
    lines.some(line => line.startsWith('nix-ipfs-mount: ') && parts.every(part => line.includes(part))),
    `no line with ${parts.join(', ')}: ${mount.stderr()}`,
  )
}
