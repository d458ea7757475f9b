import assert from 'node:assert/strict'
import { appendFileSync, readdirSync, readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestScope } from '../helpers/cleanup.ts'
import { randomTree, writeTree } from '../helpers/random-tree.ts'
import { cli } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { type AddedLine, done, jsonLines, newState } from './support.ts'

/** What `verify --json` prints of each path. */
interface VerifyLine {
  path: string
  ok: boolean
  bad: { kind: string; cid: string; path: string; why: string }[]
}

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
  assert.ok(refused.stderr.includes(bad[0]!.cid), refused.stderr)
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

for (const [how, harm] of [
  ['missing', (pack: string) => unlinkSync(pack)],
  ['cut', (pack: string) => truncateSync(pack, 60)],
  ['of another kind', (pack: string) => writeFileSync(pack, 'no pack at all')],
] as const) {
  test(`a pack that is ${how} is reported for every path in it, and listing goes on`, async t => {
    const { state, marked, other } = await twoPaths(t)
    for (const pack of packs(state)) harm(pack)
    const { code, lines } = await verify(state)
    assert.equal(code, 1)
    assert.deepEqual(lines.map(({ path }) => path).sort(), [marked.path, other.path].sort())
    assert.ok(lines.every(({ ok, bad }) => !ok && bad.length > 0 && bad.every(({ kind }) => kind === 'block')))
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
