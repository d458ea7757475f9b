import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { freePort, type KuboDaemon, kuboDaemon } from '../helpers/kubo-daemon.ts'
import { kuboProxy } from '../helpers/kubo-proxy.ts'
import { noise, tempInMemory } from '../helpers/mount-fixture.ts'
import { nixStore, sampleClosure } from '../helpers/nix.ts'
import { silentServer, stranger, strangers } from '../helpers/not-kubo.ts'
import { cli, output } from '../helpers/run.ts'
import { type Verified, verifyState } from '../helpers/store.ts'
import { tempFolder } from '../helpers/temp.ts'
import { until } from '../helpers/until.ts'
import { suiteScope } from '../suites/mount.ts'
import { start } from './processes.ts'
import {
  type AddedLine,
  addOne,
  assertFailed,
  done,
  doneText,
  infoOne,
  jsonLines,
  known,
  listing,
  newState,
  sampleTree,
  succeeded,
} from './support.ts'

// Blocks in a real Kubo: it is the only holder of the bytes, and whatever is wrong with it is one line.

const MIB = 1024 * 1024

const scope = suiteScope()
let kubo: KuboDaemon
before(async () => {
  await tempInMemory(scope)
  kubo = await kuboDaemon(scope)
})

/** Arguments that put a new state's blocks into the node at a URL. */
const inKubo = (url = kubo.rpc) => ['--blocks', `kubo:${url}`]

describe('a tree in Kubo', () => {
  let folder = ''
  let state = ''
  let sizeBefore = 0
  let added: AddedLine
  let dump: Buffer
  before(async () => {
    folder = largeTree(tempFolder(scope, 'tree'))
    dump = await output('nix-store', ['--dump', folder])
    sizeBefore = repoSize()
    state = newState(scope)
    added = await addOne(state, [folder, ...inKubo()])
  })

  test('all commands say and give what they do with local packs', async () => {
    const local = newState(scope)
    assert.deepEqual(await addOne(local, [folder]), added)
    assert.deepEqual(await listing(state, ['-R', added.path]), await listing(local, ['-R', added.path]))
    assert.deepEqual(await infoOne(state, added.path), await infoOne(local, added.path))
    assert.ok((await done(['nar', added.path, '--state', state])).equals(dump))
    for (const name of ['bin/large', 'nothing']) {
      const bytes = await done(['cat', `${added.path}/${name}`, '--state', state])
      assert.ok(bytes.equals(readFileSync(join(folder, name))), name)
    }
    assert.deepEqual(jsonLines(await done(['verify', '--json', '--state', state])), [
      { path: added.path, ok: true, bad: [] },
    ])
  })

  test('Kubo itself restores the tree with its modes, and gives the NAR', async t => {
    const copy = join(tempFolder(t), 'copy')
    kubo.ipfs(['get', added.root, '-o', copy])
    assert.equal((await output('diff', ['-r', '--no-dereference', folder, copy])).toString(), '')
    for (const name of readdirSync(join(folder, 'bin'))) {
      assert.equal(lstatSync(join(copy, 'bin', name)).mode & 0o777, 0o555, name)
    }
    assert.equal(lstatSync(join(copy, 'hello.txt')).mode & 0o111, 0)
    assert.ok(kubo.ipfs(['cat', added.nar]).equals(dump))
  })

  test('every CID of the tree is in Kubo’s own repository', async () => {
    const here = new Set(lines(kubo.ipfs(['refs', 'local'])).map(multihashOf))
    for (const { path, cid } of await listing(state, ['-R', added.path])) assert.ok(here.has(multihashOf(cid)), path)
    const reached = lines(kubo.ipfs(['refs', '-r', '-u', added.root])).map(multihashOf)
    assert.deepEqual(
      reached.filter(multihash => !here.has(multihash)),
      [],
    )
  })

  test('the bytes are there once, and nowhere else', async () => {
    const { size, entries } = await infoOne(state, added.path)
    const grown = repoSize() - sizeBefore
    assert.ok(grown >= size, `${grown} bytes for ${size}`)
    assert.ok(grown < 1.1 * size + 700 * entries + MIB, `${grown} bytes for ${size} in ${entries} entries`)
    assert.deepEqual(readdirSync(join(state, 'packs')), [])
    const index = readFileSync(join(state, 'index', 'data.mdb'))
    const large = readFileSync(join(folder, 'bin', 'large'))
    for (const at of [0, MIB, 5 * MIB]) assert.equal(index.indexOf(large.subarray(at, at + 64)), -1)
  })

  test('tree and NAR are pinned under the path’s name, and garbage collection takes nothing of them', async () => {
    const name = `nix-ipfs-mount:${basename(added.path)}`
    const pins = pinsOf()
    assert.deepEqual([pins.get(added.root), pins.get(added.nar)], [name, name])
    kubo.ipfs(['repo', 'gc'])
    await assertSound(state, added)
    assert.ok((await done(['nar', added.path, '--state', state])).equals(dump))
  })

  test('adding it again adds nothing', async () => {
    const size = repoSize()
    assert.deepEqual(await addOne(state, [folder]), { ...added, new: false })
    assert.ok(repoSize() - size < MIB)
  })
})

test('a closure from a Nix store keeps what the database says, and each NAR', async t => {
  const nix = nixStore(t)
  const [top] = await nix.build(sampleClosure)
  const state = newState(t)
  const result = await nix.cli(['add', '--closure', top!, '--json', '--state', state, ...inKubo()])
  const added = jsonLines<AddedLine>(succeeded(result))
  const infos = await nix.info()
  assert.equal(added.length, 2)
  for (const { path } of added) {
    const info = await infoOne(state, path)
    const theirs = infos.find(info => info.path === path)!
    assert.deepEqual([info.trust, info.references], ['local', theirs.references.sort()])
    assert.ok((await done(['nar', path, '--state', state])).equals(await nix.dump(path)))
    assert.ok(kubo.ipfs(['cat', info.nar]).equals(await nix.dump(path)))
  }
  await assertSound(state, ...added)
})

test('forget lets Kubo have the blocks, but those that another path shares', async t => {
  const state = newState(t)
  const folder = smallTree(t, 10)
  const [first, second] = [
    await addOne(state, [folder, '--name', 'first', ...inKubo()]),
    await addOne(state, [folder, '--name', 'second']),
  ]
  const other = await addOne(state, [smallTree(t, 11)])
  assert.deepEqual([second.root, second.nar], [first.root, first.nar])
  const isPinned = () => [first.root, first.nar, other.root, other.nar].map(cid => pinsOf().has(cid))
  assert.deepEqual(isPinned(), [true, true, true, true])

  await done(['forget', first.path, '--state', state])
  assert.deepEqual(isPinned(), [true, true, true, true])
  kubo.ipfs(['repo', 'gc'])
  await assertSound(state, second, other)

  await done(['forget', second.path, '--state', state])
  assert.deepEqual(isPinned(), [false, false, true, true])
  kubo.ipfs(['repo', 'gc'])
  assert.equal(isHere(first.root), false)
  await assertSound(state, other)

  assert.equal((await addOne(state, [folder, '--name', 'first'])).new, true)
  await assertSound(state, first, other)
})

test('--no-pin leaves the blocks to Kubo’s garbage collection', async t => {
  const state = newState(t)
  const { path, root, nar } = await addOne(state, [smallTree(t, 12), '--no-pin', ...inKubo()])
  assert.deepEqual([pinsOf().has(root), pinsOf().has(nar)], [false, false])
  assert.equal((await infoOne(state, path)).local, (await infoOne(state, path)).size)
  kubo.ipfs(['repo', 'gc'])
  assert.equal((await infoOne(state, path)).local, 0)
})

test('a block that Kubo lost is reported by verify after the deadline, and adding the folder again heals it', async t => {
  const state = newState(t)
  const folder = smallTree(t, 13)
  const added = await addOne(state, [folder, ...inKubo()])
  const { path, root, nar } = added
  const { cid } = (await listing(state, [path])).find(({ name }) => name === 'file')!
  const leaf = lines(kubo.ipfs(['refs', cid]))[1]!
  kubo.ipfs(['pin', 'rm', root, nar])
  kubo.ipfs(['block', 'rm', leaf])

  const result = await cli(['verify', '--json', '--deadline', '1', '--state', state])
  const [problem] = jsonLines<Verified>(result.stdout)[0]!.bad
  assert.equal(result.code, 1)
  assert.match(result.stderr, /^nix-ipfs-mount: 1 of 1 paths are damaged; [^\n]+\n$/)
  assert.deepEqual({ ...problem, why: '' }, { kind: 'block', cid: leaf, path: 'file', why: '' })
  assert.ok(problem!.why.includes(kubo.rpc) && problem!.why.includes('within 1 s'), problem!.why)
  const { size, local } = await infoOne(state, path)
  assert.equal(local, size - MIB)

  await cli(['verify', '--repair', '--deadline', '1', '--state', state])
  assert.equal((await addOne(state, [folder])).new, false)
  await assertSound(state, added)
})

test('a block that is altered in Kubo’s own repository is named, and after --repair adding heals it', async t => {
  const nix = nixStore(t)
  const path = await nix.add(smallTree(t, 20))
  const state = newState(t)
  const add = async () =>
    jsonLines<AddedLine>(succeeded(await nix.cli(['add', path, '--json', '--state', state, ...inKubo()])))
  const [added] = await add()
  const { cid } = (await listing(state, [path])).find(({ name }) => name === 'file')!
  const leaf = lines(kubo.ipfs(['refs', cid]))[1]!
  const file = blockFile(leaf)
  writeFileSync(file, flipped(readFileSync(file), 1234))

  const result = await cli(['verify', '--json', '--repair', '--state', state])
  assert.equal(result.code, 1)
  const [{ bad }] = jsonLines<Verified>(result.stdout) as [Verified]
  assert.deepEqual(
    bad.map(({ kind, cid, path }) => ({ kind, cid, path })),
    [{ kind: 'block', cid: leaf, path: 'file' }],
  )
  assert.deepEqual(await add(), [{ ...added!, new: false }])
  assert.deepEqual([pinsOf().has(added!.root), pinsOf().has(added!.nar)], [true, true])
  await assertSound(state, added!)
})

test('a block that comes back altered is named, and none of its bytes are printed', async t => {
  const proxy = await kuboProxy(t, kubo.rpc)
  const state = newState(t)
  const folder = smallTree(t, 14)
  const added = await addOne(state, [folder, ...inKubo(proxy.url)])
  const { path } = added
  const { cid } = (await listing(state, [path])).find(({ name }) => name === 'file')!
  const leaf = lines(kubo.ipfs(['refs', cid]))[1]!
  proxy.change = (block, asked) => (asked === leaf ? flipped(block, 1234) : block)

  const cat = await cli(['cat', `${path}/file`, '--state', state])
  assert.deepEqual([cat.code, cat.stderr.split('\n').length], [1, 2])
  for (const part of [leaf, proxy.url]) assert.ok(cat.stderr.includes(part), cat.stderr)
  const real = readFileSync(join(folder, 'file'))
  assert.ok(cat.stdout.length <= MIB && cat.stdout.equals(real.subarray(0, cat.stdout.length)))
  const nar = await cli(['nar', path, '--state', state])
  assert.equal(nar.code, 1)
  assert.ok(nar.stderr.includes(leaf) && !nar.stdout.includes(flipped(real.subarray(MIB, 2 * MIB), 1234)))

  const [{ bad }] = (await verifyState(state)) as [Verified]
  assert.deepEqual(
    bad.map(({ kind, cid, path }) => ({ kind, cid, path })),
    [{ kind: 'block', cid: leaf, path: 'file' }],
  )
  proxy.change = undefined
  await assertSound(state, added)
})

test('a node that cannot be reached: add, cat, nar and verify say so, and what needs no blocks works', async t => {
  const own = await kuboDaemon(t)
  const state = newState(t)
  const folder = smallTree(t, 15)
  const added = await addOne(state, [folder, ...inKubo(own.rpc)])
  const { path } = added
  const said = await doneText(['ls', '-R', path, '--state', state])
  await own.end()
  const common = ['--state', state, '--deadline', '1']
  for (const args of [['add', folder], ['cat', `${path}/file`], ['verify']]) {
    assertFailed(await cli([...args, ...common]), [own.rpc, 'ECONNREFUSED'])
  }
  const nar = await cli(['nar', path, ...common])
  assert.equal(nar.code, 1)
  assert.match(nar.stderr, new RegExp(`^nix-ipfs-mount: [^\\n]*${own.rpc}[^\\n]*ECONNREFUSED[^\\n]*\\n$`))
  assert.equal(await doneText(['ls', '-R', path, ...common]), said)
  await own.start()
  await assertSound(state, added)
})

test('a node that dies in the middle of an add: one line, nothing visible, and the next add does it', async t => {
  const own = await kuboDaemon(t)
  const state = newState(t)
  const folder = join(tempFolder(t), 'large')
  mkdirSync(folder)
  for (let i = 0; i < 12; i++) writeFileSync(join(folder, `file-${i}`), noise(100 + i, 10 * MIB))
  const { ended } = start(t, ['add', folder, '--state', state, ...inKubo(own.rpc)])
  const blocks = join(own.repo, 'blocks')
  await until('Kubo has some of the blocks', () => filesBelow(blocks) > 24)
  await own.end('SIGKILL')
  assertFailed(await ended, [own.rpc, /ECONNRESET|ECONNREFUSED|EPIPE|UND_ERR_SOCKET|other side closed/])
  assert.deepEqual(await known(state), [])

  await own.start()
  const added = await addOne(state, [folder])
  assert.deepEqual([pinsOf(own).has(added.root), pinsOf(own).has(added.nar)], [true, true])
  await assertSound(state, added)
})

test('a node that wants authorisation says so, and one line passes it on', async t => {
  const own = await kuboDaemon(t)
  const state = newState(t)
  const { path } = await addOne(state, [smallTree(t, 16), ...inKubo(own.rpc)])
  await own.end('SIGTERM')
  const secret = { me: { AuthSecret: 'bearer:token', AllowedPaths: ['/api/v0'] } }
  own.ipfs(['config', '--json', 'API.Authorizations', JSON.stringify(secret)])
  await own.start()
  const says = [own.rpc, /wants authorisation/]
  assertFailed(await cli(['add', smallTree(t, 17), '--state', newState(t), ...inKubo(own.rpc)]), says)
  assertFailed(await cli(['cat', `${path}/file`, '--state', state]), says)
  assertFailed(await cli(['verify', '--state', state]), says)
})

test('what is not Kubo, or does not answer: one line, and nothing is added', async t => {
  const folder = smallTree(t, 18)
  const attempt = async (url: string, says: readonly (string | RegExp)[]) => {
    const state = newState(t)
    assertFailed(await cli(['add', folder, '--deadline', '1', '--state', state, ...inKubo(url)]), [url, ...says])
    assert.deepEqual(await known(state), [])
  }
  for (const other of strangers.filter(({ status, type }) => status === 401 || type === 'text/html'))
    await attempt(await stranger(t, other), [other.says])
  await attempt(await silentServer(t), ['no answer in time'])
  await attempt(`http://127.0.0.1:${await freePort()}`, ['ECONNREFUSED'])
})

test('the block store of a state is fixed: another one is refused, and so is a URL that is none', async t => {
  const folder = smallTree(t, 19)
  const [local, remote] = [newState(t), newState(t)]
  await addOne(local, [folder])
  await addOne(remote, [folder, ...inKubo()])
  const another = `http://127.0.0.1:${await freePort()}`
  assertFailed(await cli(['add', folder, '--state', local, ...inKubo()]), [local, 'local', kubo.rpc])
  assertFailed(await cli(['ls', '--state', remote, ...inKubo(another)]), [remote, another, kubo.rpc])
  assertFailed(await cli(['ls', '--state', remote, '--blocks', 'local']), [remote, 'local', kubo.rpc])
  // Said again, with a slash or without, it is the same.
  await done(['ls', '--state', remote, ...inKubo(`${kubo.rpc}/`)])
  for (const text of ['kubo:', 'kubo:/ip4/127.0.0.1/tcp/5001', 'Kubo'])
    assertFailed(await cli(['ls', '--state', remote, '--blocks', text]), ['kubo:'], 2)
  const secret = await cli(['ls', '--state', newState(t), '--blocks', 'kubo:http://me:hidden@127.0.0.1:5001'])
  assertFailed(secret, ['password'], 2)
  assert.ok(!secret.stderr.includes('hidden'))
})

/** Checks everything in a state: these paths are there, whole, and no others. */
async function assertSound(state: string, ...paths: AddedLine[]): Promise<void> {
  const expected = paths.map(({ path }) => ({ path, ok: true, bad: [] }))
  const byPath = (a: { path: string }, b: { path: string }) => (a.path < b.path ? -1 : 1)
  assert.deepEqual(await verifyState(state), expected.sort(byPath))
}

/** Recursive pins that have a name. */
function pinsOf({ ipfs } = kubo): Map<string, string> {
  const pins = lines(ipfs(['pin', 'ls', '--names', '--type', 'recursive']))
  return new Map(pins.map(line => line.split(' recursive ') as [string, string]))
}

function repoSize(): number {
  return JSON.parse(kubo.ipfs(['repo', 'stat', '--enc=json']).toString()).RepoSize
}

function isHere(cid: string): boolean {
  return lines(kubo.ipfs(['refs', 'local']))
    .map(multihashOf)
    .includes(multihashOf(cid))
}

const lines = (text: Buffer) => text.toString().trim().split('\n')

/** Kubo keeps blocks by multihash, and lists them by CIDs of its own choice: what all text forms of one share. */
const multihashOf = (cid: string) => cid.slice(-50)

const flipped = (block: Buffer, at: number) => {
  const copy = Buffer.from(block)
  copy[at]! ^= 0x10
  return copy
}

/** Where flatfs keeps a block. */
function blockFile(cid: string): string {
  const key = kubo.ipfs(['cid', 'format', '-f', '%M', '-b', 'base32upper', cid]).toString().trim().slice(1)
  const blocks = join(kubo.repo, 'blocks')
  const name = readdirSync(blocks, { recursive: true, encoding: 'utf8' }).find(name => name.endsWith(`${key}.data`))
  assert.ok(name !== undefined, `Kubo has ${cid}`)
  return join(blocks, name)
}

/** Files below a folder that a daemon is writing to; 0 where one of its own folders went away meanwhile. */
function filesBelow(folder: string): number {
  try {
    return readdirSync(folder, { recursive: true }).length
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
    throw error
  }
}

/** A folder whose contents are found nowhere else. */
function smallTree(t: TestContext, seed: number): string {
  const folder = join(tempFolder(t, 'tree'), `tree-${seed}`)
  mkdirSync(join(folder, 'sub'), { recursive: true })
  writeFileSync(join(folder, 'file'), noise(seed, 3 * MIB))
  writeFileSync(join(folder, 'sub', 'small'), `small ${seed}\n`)
  return folder
}

/** Every kind of entry, files of several blocks, a folder of 300 files, and one that is sharded. */
function largeTree(parent: string): string {
  const folder = join(parent, 'real')
  sampleTree(folder)
  writeFileSync(join(folder, 'bin', 'large'), noise(1, 9 * MIB + 1), { mode: 0o755 })
  writeFileSync(join(folder, 'exactly'), noise(2, 4 * MIB))
  mkdirSync(join(folder, 'many'))
  for (let i = 0; i < 300; i++) writeFileSync(join(folder, 'many', `file-${i}`), noise(1000 + i, 4096 + i))
  mkdirSync(join(folder, 'sharded'))
  for (let i = 0; i < 1200; i++) writeFileSync(join(folder, 'sharded', `${i}`.padEnd(220, '-')), `${i % 30}`)
  return folder
}
