import assert from 'node:assert/strict'
import {
  appendFileSync,
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { currentOwner } from '../../src/blocks/owner.ts'
import { type Batch, scanPack } from '../../src/blocks/pack-format.ts'
import { rebuildStore } from '../../src/cli/compose.ts'
import { readConfig } from '../../src/cli/config.ts'
import { fullPath } from '../../src/nix/store-path.ts'
import type { TestScope } from '../helpers/cleanup.ts'
import { choosePoints, crashPoints } from '../helpers/crash-point.ts'
import { cli } from '../helpers/run.ts'
import { addFolderTo, type Verified, verifyState, withStore } from '../helpers/store.ts'
import { tempFolder } from '../helpers/temp.ts'
import { assertFailed, done, jsonLines, newState } from './support.ts'

// Damage to what packs say of themselves: their headers, and the headers and tables of their batches. Every block may
// still be read, since the index has its place, but the index could not be made again.

const scope = { after }
const work = tempFolder(scope)
/** A state to be copied: a pack of three batches, a path in each, and one of two, the last of them a record alone. */
const sample = newState(scope)
/** Folders, and the paths that they became, in the order of their batches. */
const folders = ['first', 'middle', 'last', 'other'].map(name => join(work, name))
const paths: string[] = []

before(async () => {
  for (const [i, folder] of folders.entries()) {
    cpSync(join(import.meta.dirname, '../helpers'), folder, { recursive: true })
    for (const name of readdirSync(folder)) appendFileSync(join(folder, name), `${i}`)
    // Alone in its batch, but for the nodes above it: some of a batch's blocks lie before it and some behind.
    writeFileSync(join(folder, 'random'), Buffer.alloc(300_000, `${i} of random bytes `))
    writeFileSync(join(folder, 'empty'), '')
  }
  for (const pack of [folders.slice(0, 3), folders.slice(3)])
    await withStore(sample, async store => {
      const ingest = store.ingest({ pin: true })
      const add = async (folder: string, name: string) => {
        await ingest.addFolder(folder, name)
        paths.push(fullPath((await ingest.commit())[0]!.baseName))
      }
      for (const folder of pack) await add(folder, 'tree')
      if (pack.length === 1) await add(folders[0]!, 'the-first-again')
      await ingest.close()
    })
  assert.deepEqual(await verifyState(sample), sound())
  assert.deepEqual(
    [1, 2].map(pack => batchesOf(packFile(sample, pack)).length),
    [3, 2],
  )
})

function sound(): Verified[] {
  return [...paths].sort().map(path => ({ path, ok: true, bad: [] }))
}

const packFile = (state: string, pack: number) => join(state, 'packs', `${pack}.pack`)

function copyOf(t: TestScope, state = sample): string {
  const copy = newState(t)
  cpSync(state, copy, { recursive: true })
  return copy
}

function batchesOf(file: string): Batch[] {
  const fd = openSync(file, 'r')
  try {
    return [...scanPack(fd, 1)]
  } finally {
    closeSync(fd)
  }
}

function flip(file: string, at: number): void {
  const bytes = readFileSync(file)
  bytes[at]! ^= 4
  writeFileSync(file, bytes)
}

/** Kinds of problems by what has them. */
async function problemsOf(state: string): Promise<Record<string, string[]>> {
  const found = (await verifyState(state)).filter(({ ok }) => !ok)
  for (const { why } of found.flatMap(({ bad }) => bad)) assert.match(why, /^[^\n]+$/)
  return Object.fromEntries(found.map(({ path, bad }) => [path, [...new Set(bad.map(({ kind }) => kind))].sort()]))
}

const repair = (state: string) => ['verify', '--repair', '--state', state]

/** All paths come back from the packs alone, and nothing is wrong with these. */
async function assertRebuilt(state: string): Promise<void> {
  assert.deepEqual(await verifyState(state), sound())
  rmSync(join(state, 'index'), { recursive: true })
  const rebuilt = await rebuildStore(readConfig({ state }, {}))
  assert.deepEqual([rebuilt?.paths, rebuilt?.lost], [paths.length, []])
  assert.deepEqual(await verifyState(state), sound())
}

/** Places in a batch, by what they belong to. */
const places: Record<string, (batch: Batch) => number> = {
  'magic number': ({ offset }) => offset + 1,
  'number of rows': ({ offset }) => offset + 4,
  checksum: ({ offset }) => offset + 17,
  table: ({ offset }) => offset + 20 + 40,
  'end of the table': ({ blocks }) => blocks[0]!.location.offset - 1,
}

for (const [which, number] of [
  ['first', 0],
  ['middle', 1],
  ['last', 2],
] as const) {
  for (const [what, placeIn] of Object.entries(places)) {
    test(`${what} altered in the ${which} batch: the pack and the paths in it are named; --repair loses nothing`, async t => {
      const state = copyOf(t)
      const file = packFile(state, 1)
      flip(file, placeIn(batchesOf(file)[number]!))
      const unrecorded = paths.slice(number, 3).map(path => [path, ['record']])
      assert.deepEqual(await problemsOf(state), Object.fromEntries([[file, ['pack']], ...unrecorded]))
      const { code, stdout, stderr } = await cli([...repair(state), '--json'])
      assert.equal(code, 0, stderr)
      assert.ok(stderr.includes(`${file}: `), stderr)
      assert.deepEqual(jsonLines(stdout), sound())
      await assertRebuilt(state)
    })
  }

  test(`a block altered in the ${which} batch is no damage of the pack`, async t => {
    const state = copyOf(t)
    const file = packFile(state, 1)
    const { location } = batchesOf(file)[number]!.blocks.find(({ location }) => location.length === 300_000)!
    flip(file, location.offset + 1000)
    assert.deepEqual(await problemsOf(state), {
      [paths[number]!]: ['block'],
      ...(number === 0 && { [paths[4]!]: ['block'] }),
    })
    assert.equal((await cli(repair(state))).code, 1)
    await addFolderTo(state, folders[number]!, 'tree')
    await assertRebuilt(state)
  })

  const cuts: Record<string, (batch: Batch) => number> = {
    'where it begins': ({ offset }) => offset,
    'in its header': ({ offset }) => offset + 10,
    'in its table': ({ offset }) => offset + 100,
    'before its data': ({ blocks }) => blocks[0]!.location.offset,
    'in the middle of its data': ({ blocks }) => blocks[blocks.length >> 1]!.location.offset + 1,
    'before its last byte': ({ end }) => end - 1,
  }
  for (const [where, placeIn] of Object.entries(cuts)) {
    test(`a pack cut in its ${which} batch ${where}: --repair keeps what is there, and add brings the rest`, async t => {
      const state = copyOf(t)
      const file = packFile(state, 1)
      truncateSync(file, placeIn(batchesOf(file)[number]!))
      const before = await problemsOf(state)
      assert.deepEqual(before[file], ['pack'])
      for (const [i, path] of paths.slice(0, 3).entries())
        assert.deepEqual(before[path], i < number ? undefined : ['block', 'record'])
      assert.equal((await cli(repair(state))).code, 1)
      assert.equal((await problemsOf(state))[file], undefined)
      for (const folder of folders.slice(number, 3)) await addFolderTo(state, folder, 'tree')
      await assertRebuilt(state)
    })
  }
}

test('a pack whose own header is altered is not read, and --repair copies all of it', async t => {
  for (const at of [0, 9, 13, 17, 25, 30]) {
    const state = copyOf(t)
    const file = packFile(state, 1)
    flip(file, at)
    const found = await problemsOf(state)
    assert.deepEqual(found[file], ['pack'])
    assert.deepEqual(found[paths[0]!], ['block', 'record'])
    const { code, stderr } = await cli(repair(state))
    assert.equal(code, 0, stderr)
    await assertRebuilt(state)
  }
})

test('two packs altered at once are both named, in lines of their own and in JSON', async t => {
  const state = copyOf(t)
  for (const pack of [1, 2]) flip(packFile(state, pack), 32 + 4)
  const json = await cli(['verify', '--json', '--state', state])
  assert.equal(json.code, 1)
  const lines = jsonLines<Verified>(json.stdout)
  for (const pack of [1, 2]) {
    const [line] = lines.filter(({ path }) => path === packFile(state, pack))
    const [bad] = line!.bad
    assert.deepEqual(line, {
      path: packFile(state, pack),
      ok: false,
      bad: [{ ...bad, kind: 'pack', cid: null, path: '' }],
    })
  }
  const text = await cli(['verify', '--state', state])
  assert.equal(text.code, 1)
  for (const pack of [1, 2]) assert.ok(text.stdout.toString().includes(`${packFile(state, pack)}: pack: `))
  assert.match(text.stderr, /^nix-ipfs-mount: 2 packs and 5 of 5 paths are damaged; use verify --repair\n$/)
  // Paths that are named are looked at alone.
  assert.equal((await cli(['verify', '--state', state, paths[0]!])).code, 0)
  await done(['ls', '--state', state])
  assert.equal((await cli(repair(state))).code, 0)
  await assertRebuilt(state)
})

test('a record that is lost with a batch of its own is a problem of its path', async t => {
  const state = copyOf(t)
  const file = packFile(state, 2)
  truncateSync(file, batchesOf(file)[1]!.end - 1)
  assert.deepEqual(await problemsOf(state), { [paths[4]!]: ['record'] })
  assert.equal((await cli(repair(state))).code, 0)
  await assertRebuilt(state)
})

test('what follows the last batch is no damage', async t => {
  const state = copyOf(t)
  const file = packFile(state, 1)
  for (const rest of ['half a batch', readFileSync(file).subarray(32, 100)]) {
    appendFileSync(file, rest)
    assert.deepEqual(await verifyState(state), sound())
  }
})

test('what others add meanwhile is no damage, at whatever point of it the packs are checked', async t => {
  const state = copyOf(t)
  const sources = ['cli', 'fs', 'suites', 'unixfs'].map(name => join(import.meta.dirname, '..', name))
  const adding = Promise.all(sources.map(folder => cli(['add', '--state', state, folder])))
  let over = false
  void adding.finally(() => {
    over = true
  })
  let checks = 0
  await withStore(state, async store => {
    for (; !over; checks++) {
      const { problems, unrecorded } = store.checkPacks()
      assert.deepEqual([problems, [...unrecorded]], [[], []])
      await sleep(2)
    }
  })
  assert.ok(checks > 1)
  for (const { code, stderr } of await adding) assert.equal(code, 0, stderr)
})

test('an index that has blocks otherwise than the tables is a problem of the pack', async t => {
  const state = copyOf(t)
  const file = packFile(state, 1)
  // As if an older copy of the pack had been put there: other paths, all of them well-formed.
  cpSync(packFile(state, 2), file)
  const bytes = readFileSync(file)
  cpSync(packFile(sample, 1), file)
  const header = readFileSync(file).subarray(0, 32)
  writeFileSync(file, Buffer.concat([header, bytes.subarray(32)]))
  assert.deepEqual((await problemsOf(state))[file], ['pack'])
  assert.equal((await cli(repair(state))).code, 1)
  for (const folder of folders.slice(0, 3)) await addFolderTo(state, folder, 'tree')
  await assertRebuilt(state)
})

test('a repair that is killed leaves every path as it was; the next one ends it', async t => {
  const broken = copyOf(t)
  for (const pack of [1, 2]) flip(packFile(broken, pack), places.table!(batchesOf(packFile(broken, pack))[0]!))
  const crash = await crashPoints(tempFolder(t))
  for (const point of choosePoints(await crash.trace(repair(copyOf(t, broken))), 16, 20261126)) {
    const state = copyOf(t, broken)
    assert.ok(await crash.run(repair(state), point))
    const kinds = Object.values(await problemsOf(state)).flat()
    assert.deepEqual(
      kinds.filter(kind => kind !== 'pack' && kind !== 'record'),
      [],
    )
    const { code, stderr } = await cli(repair(state))
    assert.equal(code, 0, stderr)
    assert.deepEqual(
      readdirSync(state).filter(name => name.startsWith('repair.')),
      [],
    )
    await assertRebuilt(state)
  }
})

const busy = /is repairing this state/

for (const [what, harm] of [
  ['repairs', (state: string) => flip(packFile(state, 1), 36)],
  ['rebuilds', (state: string) => rmSync(join(state, 'index'), { recursive: true })],
] as const) {
  test(`${what} at once: each does it, or says that another does`, async t => {
    const state = copyOf(t)
    harm(state)
    const results = await Promise.all([1, 2, 3].map(() => cli(repair(state))))
    assert.ok(results.some(({ code }) => code === 0))
    for (const { code, stderr } of results) if (code !== 0) assert.match(stderr, busy)
    assert.equal((await cli(repair(state))).code, 0)
    await assertRebuilt(state)
  })
}

test('a repair waits for no process that is gone, and gives way to one that lives', async t => {
  const state = copyOf(t)
  flip(packFile(state, 1), 36)
  const { pid, startTime, bootId } = currentOwner()
  const held = join(state, `repair.${pid}.${startTime}.${bootId}`)
  writeFileSync(held, '')
  assertFailed(await cli(repair(state)), [busy, `process ${pid} `])
  assert.equal((await cli(['verify', '--state', state])).code, 1)
  rmSync(held)
  // The same number, but of a process of before.
  writeFileSync(join(state, `repair.${pid}.${Number(startTime) - 1}.${bootId}`), '')
  assert.equal((await cli(repair(state))).code, 0)
  assert.deepEqual(readdirSync(state).sort(), ['format', 'index', 'packs'])
})
