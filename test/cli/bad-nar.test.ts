import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { after, before, test } from 'node:test'
import { cli } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { directory, entry, file, nar, nested, type Token, wire, wireNumber, wireString } from './nar-wire.ts'
import { addOne, assertFailed, done, known, newState, storedNar } from './support.ts'

// Malformed NARs through `add --nar -`: one line, nothing visible, nothing else harmed.

const scope = { after }
const state = newState(scope)
const good = nar(...directory(entry('a', file('kept')), entry('b', ['(', 'type', 'symlink', 'target', 'a', ')'])))
let kept: string

before(async () => {
  kept = (await addOne(state, ['--nar', '-', '--name', 'kept'], { input: good })).path
})

const addNar = (input: Uint8Array) => cli(['add', '--state', state, '--nar', '-', '--name', 'bad'], { input })

async function refused(input: Uint8Array): Promise<void> {
  assertFailed(await addNar(input), ['NAR'])
  assert.deepEqual(await known(state), [basename(kept)])
}

const name = (...bytes: Token[]) => nar(...directory(entry(wire(...bytes), file('x'))))
const regular = (...rest: Token[]) => nar('(', 'type', 'regular', ...rest)

const malformed: Record<string, Uint8Array> = {
  'nothing at all': Buffer.alloc(0),
  'text that is no NAR': Buffer.from('this is no NAR, but long enough for a header\n'),
  'cut within contents': regular('contents', wireNumber(100), Buffer.from('only this')),
  'cut before the last bracket': good.subarray(0, good.length - 16),
  'an unknown type': nar('(', 'type', 'fifo', ')'),
  'a wrong tag in a file': regular('content', 'x', ')'),
  'executable after contents': regular('contents', 'x', 'executable', '', ')'),
  'unsorted names': nar(...directory(entry('b', file('x')), entry('a', file('y')))),
  'names sorted as code units but not as bytes': nar(
    ...directory(entry('\u{1f600}', file('x')), entry('\ufb00', file('y'))),
  ),
  'a name twice': nar(...directory(entry('a', file('x')), entry('a', file('y')))),
  'the name .': name('.'),
  'the name ..': name('..'),
  'an empty name': name(''),
  'a slash in a name': name('a/b'),
  'NUL in a name': name('a\0b'),
  'a name of 256 bytes': name('n'.repeat(256)),
  'a link target of 4,096 bytes': nar('(', 'type', 'symlink', 'target', 't'.repeat(4096), ')'),
  'padding that is not zero after a name': name(wireString('abc', 1)),
  'padding that is not zero after contents': regular('contents', wireString('abc', 1), ')'),
  'contents longer than the input': regular('contents', wireNumber(2 ** 40), Buffer.from('short')),
  'a length of 2^64 - 1': regular('contents', wireNumber(2n ** 64n - 1n), Buffer.from('short')),
  'trailing bytes': Buffer.concat([good, Buffer.from('more')]),
  'folders 2,049 deep': nested(2049),
}

for (const [what, bytes] of Object.entries(malformed)) test(`refused: ${what}`, () => refused(bytes))

test('refused: what breaks after megabytes of good contents', async () => {
  const large = 'x'.repeat(9 * 1024 * 1024)
  await refused(nar(...directory(entry('a', file(large)), entry('a', file('twice')))))
})

test('folders 2,048 deep are taken and given back', async t => {
  const deep = newState(t)
  const input = nested(2048)
  const { path } = await addOne(deep, ['--nar', '-', '--name', 'deep'], { input })
  assert.ok((await done(['nar', '--state', deep, path])).equals(input))
  assert.equal((await known(deep)).length, 1)
})

test('the longest names and targets are taken and given back', async t => {
  const longest = newState(t)
  const target = ['(', 'type', 'symlink', 'target', 't'.repeat(4095), ')']
  const input = nar(...directory(entry('n'.repeat(255), target), entry(wireString(Buffer.alloc(255, 0xff)), file(''))))
  const { path } = await addOne(longest, ['--nar', '-', '--name', 'longest'], { input })
  assert.ok((await storedNar(longest, path)).equals(input))
})

test('a NAR file that cannot be read is named', async t => {
  const folder = tempFolder(t)
  const absent = `${folder}/absent.nar`
  assertFailed(await cli(['add', '--state', state, '--nar', absent, '--name', 'x']), [absent])
  assertFailed(await cli(['add', '--state', state, '--nar', folder, '--name', 'x']), [folder])
  assert.deepEqual(await known(state), [basename(kept)])
})

test('after all that was refused a good path is still added, and what was there is whole', async () => {
  const added = await addOne(state, ['--nar', '-', '--name', 'bad'], { input: good })
  assert.equal(added.new, true)
  for (const path of [kept, added.path]) assert.ok((await storedNar(state, path)).equals(good))
})
