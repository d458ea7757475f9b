import assert from 'node:assert/strict'
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { packFileName } from '../../src/blocks/pack-format.ts'
import type { BlockLocation } from '../../src/blocks/types.ts'
import { cidText, parseCid, readCid } from '../../src/cid.ts'
import { TreeBuilder } from '../../src/unixfs/builder.ts'
import { decodeNode } from '../../src/unixfs/node.ts'
import { emitTree } from '../../src/unixfs/tree-reader.ts'
import type { NodeSink } from '../../src/unixfs/types.ts'
import type { TestScope } from '../helpers/cleanup.ts'
import { choosePoints, crashPoints } from '../helpers/crash-point.ts'
import { randomTree, writeTree } from '../helpers/random-tree.ts'
import { cli, output } from '../helpers/run.ts'
import { type Verified as VerifyLine, verifyState, withStore } from '../helpers/store.ts'
import { tempFolder } from '../helpers/temp.ts'
import { type AddedLine, addOne, done, jsonLines, newState, patterned, storedNar } from './support.ts'

/** Unlike anything that a random tree holds, so that it is found in a pack. */
const MARK = 'the bytes that will be damaged'

/** Two paths: one whose file `marked` will be damaged, and a random one. */
async function twoPaths(t: TestScope) {
  const state = newState(t)
  const folder = tempFolder(t, 'marked')
  writeFileSync(join(folder, 'marked'), MARK)
  writeFileSync(join(folder, 'other'), 'other bytes')
  const random = join(tempFolder(t, 'random'), 'tree')
  writeTree(randomTree(7), random)
  const [marked, other] = jsonLines<AddedLine>(
    await done(['add', '--json', '--state', state, folder, random, '--no-pin']),
  )
  return { state, folder, random, marked: marked!, other: other! }
}

async function verify(state: string, args: string[] = []): Promise<{ code: number | null; lines: VerifyLine[] }> {
  const { code, stdout, stderr } = await cli(['verify', '--json', '--state', state, ...args])
  if (code !== 0) assert.match(stderr, /nix-ipfs-mount: [^\n]+\n$/)
  return { code, lines: jsonLines(stdout) }
}

function packs(state: string): string[] {
  return readdirSync(join(state, 'packs')).map(name => join(state, 'packs', name))
}

/** Flips one bit of the marked bytes. */
function damage(state: string): void {
  for (const pack of packs(state)) {
    const bytes = readFileSync(pack)
    const at = bytes.indexOf(MARK)
    if (at < 0) continue
    bytes[at + 4]! ^= 1
    writeFileSync(pack, bytes)
    return
  }
  assert.fail('the marked bytes are in no pack')
}

test('a sound store verifies, all of it or the paths that are named', async t => {
  const { state, marked, other } = await twoPaths(t)
  const all = await verify(state)
  assert.equal(all.code, 0)
  assert.deepEqual(all.lines.map(({ path }) => path).sort(), [marked.path, other.path].sort())
  assert.ok(all.lines.every(({ ok, bad }) => ok && bad.length === 0))
  assert.deepEqual((await verify(state, [marked.path])).lines, [{ path: marked.path, ok: true, bad: [] }])
})

test('a flipped bit is found by block and file; --repair and add make it good again', async t => {
  const { state, folder, marked, other } = await twoPaths(t)
  damage(state)
  const found = await verify(state)
  assert.equal(found.code, 1)
  const lines = new Map(found.lines.map(line => [line.path, line]))
  assert.equal(lines.get(other.path)?.ok, true)
  const { ok, bad } = lines.get(marked.path)!
  assert.equal(ok, false)
  assert.deepEqual(
    bad.map(({ kind, path }) => [kind, path]),
    [['block', 'marked']],
  )
  const refused = await cli(['cat', '--state', state, `${marked.path}/marked`])
  assert.equal(refused.code, 1)
  assert.ok(refused.stderr.includes(bad[0]!.cid!), refused.stderr)
  assert.equal(refused.stdout.length, 0)
  assert.equal((await done(['cat', '--state', state, `${marked.path}/other`])).toString(), 'other bytes')

  // Without a repair the damaged block is still taken for known.
  assert.equal((await verify(state, ['--repair'])).code, 1)
  const [again] = jsonLines<AddedLine>(
    await done(['add', '--json', '--state', state, folder, '--name', marked.path.slice(44)]),
  )
  assert.equal(again?.path, marked.path)
  assert.equal(again?.new, false)
  assert.equal((await verify(state)).code, 0)
  assert.equal((await done(['cat', '--state', state, `${marked.path}/marked`])).toString(), MARK)
})

/** Where one block lies. */
function placeOf(state: string, cid: string): Promise<{ file: string; location: BlockLocation }> {
  return withStore(state, ({ index }) => {
    const location = index.locate(readCid(parseCid(cid))!.multihash)
    assert.ok(location !== undefined, `${cid} is not known`)
    return { file: join(state, 'packs', packFileName(location.pack)), location }
  })
}

/** Flips a bit in the middle of each of these blocks. */
async function damageBlocks(state: string, cids: readonly string[]): Promise<void> {
  for (const cid of cids) {
    const { file, location } = await placeOf(state, cid)
    const bytes = readFileSync(file)
    bytes[location.offset + (location.length >> 1)]! ^= 1
    writeFileSync(file, bytes)
  }
}

/** One path with several of everything: a file of three blocks, a sharded folder, a NAR DAG of two levels. */
async function largePath(t: TestScope) {
  const state = newState(t)
  const folder = join(tempFolder(t), 'large')
  mkdirSync(join(folder, 'sharded'), { recursive: true })
  for (let i = 0; i < 1300; i++) writeFileSync(join(folder, 'sharded', `${i}`.padEnd(220, '-')), `file ${i}`)
  for (const name of ['a', 'b', 'c']) writeFileSync(join(folder, name), `contents of ${name}`)
  writeFileSync(join(folder, 'blocks'), patterned(3 * 1024 * 1024))
  const added = await addOne(state, [folder])
  const cids = await withStore(state, ({ reader }) => {
    const links = (cid: string) => decodeNode(reader.blocks.get(readCid(parseCid(cid))!.multihash)!).links
    const entry = (name: string) => links(added.root).find(link => link.name?.toString() === name)!.cid
    const shard = links(cidText(entry('sharded'))).find(({ name }) => name?.length === 2)!.cid
    return {
      files: ['a', 'b', 'c'].map(name => cidText(entry(name))),
      blocks: cidText(entry('blocks')),
      leaves: links(cidText(entry('blocks'))).map(({ cid }) => cidText(cid)),
      sharded: cidText(entry('sharded')),
      shard: cidText(shard),
      narNodes: links(added.nar).map(({ cid }) => cidText(cid)),
    }
  })
  return { state, folder, added, ...cids }
}

/** What is wrong with the only path, without the reasons. */
async function problemsOf(state: string): Promise<string[]> {
  const [{ bad }] = (await verifyState(state)) as [VerifyLine]
  for (const { why } of bad) assert.ok(why.length > 0 && !why.includes('\n'), why)
  return bad.map(({ kind, cid, path }) => `${kind} ${cid} ${path}`).sort()
}

test('every damaged and every missing block of a path is named, with its place', async t => {
  const { state, added, files, leaves } = await largePath(t)
  await damageBlocks(state, [...files, leaves[2]!])
  await withStore(state, ({ index }) => index.removeBlocks([readCid(parseCid(leaves[0]!))!.multihash]))
  const { code, lines } = await verify(state)
  assert.equal(code, 1)
  const bad = lines[0]!.bad.map(({ kind, cid, path, why }) => ({
    kind,
    cid: cid!,
    path,
    missing: why.includes('not here'),
  }))
  const expected = [
    ...files.map((cid, i) => ({ cid, path: 'abc'[i]!, missing: false })),
    { cid: leaves[0]!, path: 'blocks', missing: true },
    { cid: leaves[2]!, path: 'blocks', missing: false },
  ].map(problem => ({ kind: 'block', ...problem }))
  const byCid = (a: { cid: string }, b: { cid: string }) => (a.cid < b.cid ? -1 : 1)
  assert.deepEqual(bad.sort(byCid), expected.sort(byCid))
  const text = await cli(['verify', '--state', state])
  assert.equal(text.code, 1)
  for (const { cid, path } of expected)
    assert.ok(text.stdout.toString().includes(`${added.path}/${path}: block ${cid}: `), text.stdout.toString())
})

test('a damaged node of a file, a folder or a NAR is named, and so is what is bad below it', async t => {
  const { state, added, files, blocks, leaves, sharded, narNodes } = await largePath(t)
  assert.ok(narNodes.length > 1)
  await damageBlocks(state, [added.root, files[1]!, blocks, leaves[1]!, sharded, added.nar, narNodes[1]!])
  assert.deepEqual(
    await problemsOf(state),
    [
      `block ${added.root} `,
      `block ${files[1]} b`,
      `block ${blocks} blocks`,
      `block ${leaves[1]} blocks`,
      `block ${sharded} sharded`,
      `block ${added.nar} `,
      `block ${narNodes[1]} `,
    ].sort(),
  )
})

test('a damaged shard of a folder is named, and every file of that folder is still looked at', async t => {
  const { state, shard } = await largePath(t)
  const file = await withStore(state, ({ reader, index }) => {
    const [record] = index.paths()
    const entry = reader.descend(
      record!,
      ['sharded', '7'.padEnd(220, '-')].map(name => Buffer.from(name)),
    )!
    const node = reader.node(entry.id)
    return node.kind === 'file' ? cidText(node.cid) : ''
  })
  await damageBlocks(state, [shard, file])
  const expected = [`block ${shard} sharded`, `block ${file} sharded/${'7'.padEnd(220, '-')}`]
  assert.deepEqual(await problemsOf(state), expected.sort())
})

test('an index that tells another tree than the blocks is reported with the place', async t => {
  const state = newState(t)
  const folder = join(tempFolder(t), 'wrong')
  mkdirSync(join(folder, 'sub'), { recursive: true })
  writeFileSync(join(folder, 'sub', 'file'), 'contents')
  writeFileSync(join(folder, 'sub', 'other'), 'contents of the other')
  await addOne(state, [folder])
  await withStore(state, async ({ index, reader }) => {
    const [record] = index.paths()
    const run = index.newNodes()
    const lying: NodeSink = {
      // The third in NAR order, after both folders.
      file: (id, executable, size, cid, leaves) => run.file(id, id === 2 || executable, size, cid, leaves),
      symlink: (id, target) => run.symlink(id, target),
      directory: (id, cid, entries) => run.directory(id, cid, entries),
    }
    const writer = { reserve: (size: number) => Buffer.alloc(size), put: () => {} }
    const builder = new TreeBuilder({ writer, nodes: lying })
    emitTree(cid => reader.blocks.get(readCid(cid)!.multihash), record!.root, builder)
    builder.finish()
    index.forget(record!.baseName)
    const [firstNode] = index.assignNodes([record!])
    index.commitPaths([{ record: { ...record!, firstNode: firstNode! }, nodes: run, pin: undefined }], Buffer.alloc(0))
  })
  const { code, lines } = await verify(state)
  assert.equal(code, 1)
  assert.deepEqual(
    lines[0]!.bad.map(({ kind, path }) => [kind, path]),
    [['tree', 'sub/file']],
  )
  const { stderr } = await cli(['verify', '--state', state])
  assert.match(stderr, /remove [^\n]*index, then use verify --repair/)
})

const harms = [
  ['missing', (pack: string) => unlinkSync(pack)],
  ['cut', (pack: string) => truncateSync(pack, 60)],
  ['of another kind', (pack: string) => writeFileSync(pack, 'no pack at all')],
] as const

for (const [how, harm] of [
  ...harms,
  ['cut in the middle', (pack: string) => truncateSync(pack, statSync(pack).size >> 1)],
  ['altered in many places', (pack: string) => alter(pack)],
] as const) {
  test(`a pack that is ${how}: what one --repair dropped is added again, and then all is well`, async t => {
    const { state, folder, added } = await largePath(t)
    for (const pack of packs(state)) harm(pack)
    assert.equal((await cli(['verify', '--repair', '--state', state])).code, 1)
    assert.equal((await addOne(state, [folder])).new, false)
    assert.deepEqual(await verifyState(state), [{ path: added.path, ok: true, bad: [] }])
    assert.ok((await storedNar(state, added.path)).equals(await output('nix-store', ['--dump', folder])))
  })
}

test('a path that was added again after its pack was lost can be rebuilt from the packs, too', async t => {
  const { state, folder, added } = await largePath(t)
  for (const pack of packs(state)) unlinkSync(pack)
  assert.equal((await cli(['verify', '--repair', '--state', state])).code, 1)
  await addOne(state, [folder])
  rmSync(join(state, 'index'), { recursive: true })
  assert.equal((await verify(state, ['--repair'])).code, 0)
  assert.deepEqual(await verifyState(state), [{ path: added.path, ok: true, bad: [] }])
})

/** Flips a bit every 100,000 bytes, but none of the header. */
function alter(pack: string): void {
  const bytes = readFileSync(pack)
  for (let at = 5000; at < bytes.length; at += 100_000) bytes[at]! ^= 4
  writeFileSync(pack, bytes)
}

test('--repair also drops a damaged block that no path has any more, so that nothing is made of it again', async t => {
  const { state, folder, marked } = await twoPaths(t)
  await done(['forget', '--state', state, marked.path])
  damage(state)
  const { code, stderr } = await cli(['verify', '--repair', '--state', state])
  assert.equal(code, 0)
  assert.match(stderr, /dropped 1 [^\n]*\n$/)
  await done(['add', '--state', state, folder])
  assert.ok((await verifyState(state)).every(({ ok }) => ok))
})

for (const [how, harm] of harms) {
  test(`a pack that is ${how} is reported for every path in it, and listing goes on`, async t => {
    const { state, marked, other } = await twoPaths(t)
    const before = packs(state)
    for (const pack of before) harm(pack)
    const { code, lines } = await verify(state)
    assert.equal(code, 1)
    const inPacks = lines.filter(({ bad }) => bad.some(({ kind }) => kind === 'pack'))
    assert.deepEqual(
      inPacks.map(({ path, ok }) => [path, ok]),
      before.map(pack => [pack, false]),
    )
    const paths = lines.filter(line => !inPacks.includes(line))
    assert.deepEqual(paths.map(({ path }) => path).sort(), [marked.path, other.path].sort())
    for (const { ok, bad } of paths) {
      assert.equal(ok, false)
      // Its record was in the same pack.
      assert.deepEqual([...new Set(bad.map(({ kind }) => kind))].sort(), ['block', 'record'])
    }
    assert.equal(JSON.parse((await done(['ls', '--json', '--state', state])).toString()).length, 2)
  })
}

test('a lost index is said so, and rebuilt from the packs alone', async t => {
  const { state, random, marked, other } = await twoPaths(t)
  const info = async (path: string) => {
    const { pinned, ...known } = JSON.parse((await done(['info', '--json', '--state', state, path])).toString())
    assert.equal(typeof pinned, 'boolean')
    return known
  }
  const before = [await info(marked.path), await info(other.path)]
  const nar = await done(['nar', '--state', state, other.path])
  rmSync(join(state, 'index'), { recursive: true })
  for (const command of [['ls'], ['add', random], ['nar', other.path]]) {
    const { code, stderr } = await cli([...command, '--state', state])
    assert.equal(code, 1)
    assert.match(stderr, /^nix-ipfs-mount: [^\n]*verify --repair[^\n]*\n$/)
  }
  assert.equal((await verify(state, ['--repair'])).code, 0)
  assert.deepEqual([await info(marked.path), await info(other.path)], before)
  assert.ok((await done(['nar', '--state', state, other.path])).equals(nar))

  // Later packs have new numbers: the old ones stay as they are.
  const kept = packs(state).map(pack => [pack, readFileSync(pack)] as const)
  const folder = tempFolder(t, 'later')
  writeFileSync(join(folder, 'later'), 'added after the rebuild')
  await done(['add', '--state', state, folder])
  assert.equal(packs(state).length, kept.length + 1)
  for (const [pack, bytes] of kept) assert.ok(readFileSync(pack).equals(bytes))
  assert.equal((await verify(state)).code, 0)
})

test('a rebuild that is killed leaves the index lost, or made; the next one makes it', async t => {
  const { state, marked, other } = await twoPaths(t)
  rmSync(join(state, 'index'), { recursive: true })
  const crash = await crashPoints(tempFolder(t))
  const copy = () => {
    const to = newState(t)
    cpSync(state, to, { recursive: true })
    return to
  }
  const rebuild = (state: string) => ['verify', '--repair', '--state', state]
  for (const point of choosePoints(await crash.trace(rebuild(copy())), 8, 20261125)) {
    const broken = copy()
    assert.ok(await crash.run(rebuild(broken), point))
    const { code, stderr } = await cli(['ls', '--state', broken])
    if (code !== 0) assert.match(stderr, /^nix-ipfs-mount: [^\n]*verify --repair[^\n]*\n$/)
    assert.equal((await cli(rebuild(broken))).code, 0)
    const paths = (await verifyState(broken)).map(({ path, ok }) => ok && path)
    assert.deepEqual(paths.sort(), [marked.path, other.path].sort())
  }
})

test('a rebuild saves what is whole and names what is lost', async t => {
  const { state, marked, other } = await twoPaths(t)
  damage(state)
  // Bytes of an add that was killed: no part of the store.
  for (const pack of packs(state)) appendFileSync(pack, 'half a batch')
  rmSync(join(state, 'index'), { recursive: true })
  const { code, stderr } = await cli(['verify', '--repair', '--state', state])
  assert.equal(code, 1)
  assert.ok(stderr.includes(`${marked.path}: is lost`), stderr)
  const { lines } = await verify(state)
  assert.deepEqual(lines, [{ path: other.path, ok: true, bad: [] }])
})
