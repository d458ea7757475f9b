import assert from 'node:assert/strict'
import { before, type TestContext, test } from 'node:test'
import { KuboNode } from '../../src/blocks/kubo.ts'
import { KuboBlocks } from '../../src/blocks/kubo-blocks.ts'
import { KuboStaging } from '../../src/blocks/kubo-staging.ts'
import { kuboUrl } from '../../src/blocks/kubo-url.ts'
import { MAX_BLOCK_BYTES } from '../../src/blocks/types.ts'
import { cidText, dagPbCid, rawCid, sha256 } from '../../src/cid.ts'
import { BlockStoreError, DamagedError, IntegrityError, MissingBlockError, UsageError } from '../../src/errors.ts'
import { onCleanup } from '../helpers/cleanup.ts'
import { freePort, type KuboDaemon, kuboDaemon } from '../helpers/kubo-daemon.ts'
import { kuboProxy, listen } from '../helpers/kubo-proxy.ts'
import { noise, tempInMemory } from '../helpers/mount-fixture.ts'
import { silentServer, stranger, strangers } from '../helpers/not-kubo.ts'
import { until } from '../helpers/until.ts'
import { blockOf, multihashOf } from '../suites/block-store.ts'
import { suiteScope } from '../suites/mount.ts'

const MIB = 1024 * 1024

/** One daemon for all tests of this file: each uses blocks of its own. */
let kubo: KuboDaemon
const scope = suiteScope()
before(async () => {
  await tempInMemory(scope)
  kubo = await kuboDaemon(scope)
})

function nodeAt(url = kubo.rpc, deadline = 30): KuboNode {
  return new KuboNode({ url, deadline })
}

const cidOf = (block: Buffer) => rawCid(sha256(block))

/** Puts the blocks as an ingest does. */
async function store(t: TestContext, node: KuboNode, blocks: readonly Buffer[]): Promise<void> {
  const staging = new KuboStaging(node)
  onCleanup(t, () => staging.close())
  for (const block of blocks) {
    if (staging.full) await staging.drain()
    staging.put(sha256(block), block)
  }
  assert.deepEqual(await staging.sync(), [], 'the index gets no rows')
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise
  } catch (error) {
    return error as Error
  }
  throw new assert.AssertionError({ message: 'it was expected to fail' })
}

/** One line that names each of `says`. */
function assertSays(error: Error, type: new (message: string) => Error, says: readonly (string | RegExp)[]): void {
  assert.ok(error instanceof type, error.stack)
  assert.doesNotMatch(error.message, /\n/)
  for (const part of says) {
    if (typeof part === 'string') assert.ok(error.message.includes(part), error.message)
    else assert.match(error.message, part)
  }
}

test('blocks of all sizes are in Kubo after a sync, and come back whole', async t => {
  const node = nodeAt()
  const sizes = [0, 1, 100, 65537, MIB - 1, MIB, MAX_BLOCK_BYTES]
  const blocks = [
    ...sizes.map(size => blockOf(size, 1)),
    ...Array.from({ length: 20 }, (_, i) => noise(200 + i, MIB - i)),
  ]
  await store(t, node, blocks)
  const reader = new KuboBlocks(node)
  for (const block of blocks) {
    assert.equal(await node.has(cidOf(block)), true)
    assert.equal(reader.get(multihashOf(block)), undefined, 'what was never asked for is not in memory')
    await reader.fetch(cidOf(block))
    assert.equal(reader.has(multihashOf(block)), true)
    assert.ok(reader.get(multihashOf(block))!.equals(block))
  }
  for (const block of blocks.slice(0, 6)) {
    assert.ok(kubo.ipfs(['block', 'get', cidText(cidOf(block))]).equals(block))
    // Kubo keeps blocks by multihash: a dag-pb node that was sent as raw bytes is found by its own CID.
    assert.equal(await node.has(dagPbCid(sha256(block))), true)
  }
})

test('5000 small blocks travel in few requests', async t => {
  const proxy = await kuboProxy(t, kubo.rpc)
  const blocks = Array.from({ length: 5000 }, (_, i) => blockOf(200 + (i % 50), i))
  const node = nodeAt(proxy.url)
  await store(t, node, blocks)
  assert.equal(proxy.asked.get('dag/import'), 1)
  for (const block of blocks.filter((_, i) => i % 997 === 0)) assert.equal(await node.has(cidOf(block)), true)
})

test('blocks filled in where they were reserved, also beyond the buffer', async t => {
  const node = nodeAt()
  const staging = new KuboStaging(node)
  onCleanup(t, () => staging.close())
  const blocks = Array.from({ length: 24 }, (_, i) => noise(300 + i, MIB - 7 * i))
  for (const [i, block] of blocks.entries()) {
    const room = staging.reserve(block.length + (i % 3))
    assert.ok(room.length >= block.length)
    block.copy(room)
    staging.put(sha256(block), room.subarray(0, block.length))
    // Every other time only, as in the middle of a large file.
    if (staging.full && i % 2 === 0) await staging.drain()
  }
  assert.equal(staging.pendingRows, blocks.length)
  await staging.sync()
  assert.deepEqual([staging.pendingRows, staging.pendingBytes], [0, 0])
  for (const block of blocks) assert.ok(Buffer.from(await node.get(cidOf(block))).equals(block))
})

test('a block put twice travels once; what was abandoned is not there, and the next blocks are', async t => {
  const node = nodeAt()
  const staging = new KuboStaging(node)
  onCleanup(t, () => staging.close())
  const [twice, lost, later] = [blockOf(1000, 4), blockOf(1001, 4), blockOf(1002, 4)]
  staging.put(sha256(twice), twice)
  staging.put(sha256(twice), twice)
  assert.deepEqual([staging.pendingRows, staging.pendingBytes], [1, 1000])
  await staging.sync()
  staging.put(sha256(lost), lost)
  staging.abandon()
  staging.put(sha256(later), later)
  await staging.sync()
  const there = await Promise.all([twice, lost, later].map(block => node.has(cidOf(block))))
  assert.deepEqual(there, [true, false, true])
})

test('any range of a fetched block is read to its place; one beyond it is damage', async t => {
  const node = nodeAt()
  const block = blockOf(5000, 5)
  await store(t, node, [block])
  const reader = new KuboBlocks(node)
  const target = Buffer.alloc(6000, 0x5a)
  assert.equal(reader.readInto(multihashOf(block), 0, 10, target, 0), false)
  await reader.fetch(cidOf(block))
  for (const [start, length, at] of [
    [0, 5000, 0],
    [17, 3000, 9],
    [4999, 1, 5999],
    [5000, 0, 3],
  ] as const) {
    target.fill(0x5a)
    assert.equal(reader.readInto(multihashOf(block), start, length, target, at), true)
    assert.ok(target.subarray(at, at + length).equals(block.subarray(start, start + length)))
    assert.ok(Buffer.concat([target.subarray(0, at), target.subarray(at + length)]).every(byte => byte === 0x5a))
  }
  assert.throws(() => reader.readInto(multihashOf(block), 4000, 1001, target, 0), DamagedError)
})

test('however many wait for a block, it is asked for once; memory keeps what was read last', async t => {
  const proxy = await kuboProxy(t, kubo.rpc)
  const node = nodeAt(proxy.url)
  const blocks = Array.from({ length: 60 }, (_, i) => noise(600 + i, MIB))
  await store(t, node, blocks)
  const reader = new KuboBlocks(node)
  await Promise.all(Array.from({ length: 20 }, () => reader.fetch(cidOf(blocks[0]!))))
  assert.equal(proxy.asked.get('block/get'), 1)
  for (const block of blocks.slice(1)) {
    await reader.fetch(cidOf(block))
    // Used again and again, so it stays.
    assert.ok(reader.get(multihashOf(blocks[0]!)) !== undefined)
  }
  const kept = blocks.filter(block => reader.has(multihashOf(block)))
  assert.ok(kept.length < 50 && kept.length > 40, `${kept.length} of ${blocks.length} MiB are kept`)
  assert.deepEqual(new Set(kept), new Set([blocks[0]!, ...blocks.slice(1 - kept.length)]))
})

test('a block that nobody has is missing once the deadline is over', async () => {
  const cid = cidOf(Buffer.from('never stored'))
  const node = nodeAt(undefined, 1)
  assert.equal(await node.has(cid), false)
  assertSays(await rejection(node.get(cid)), MissingBlockError, [cidText(cid), kubo.rpc, 'within 1 s'])
  const reader = new KuboBlocks(node)
  assertSays(await rejection(reader.fetch(cid)), MissingBlockError, [cidText(cid)])
  assert.equal(reader.has(multihashOf(Buffer.from('never stored'))), false)
})

test('a failure that was waited for is the answer to whoever asks again at once, and not for long', async t => {
  const proxy = await kuboProxy(t, kubo.rpc)
  const reader = new KuboBlocks(nodeAt(proxy.url, 1))
  const block = blockOf(100, 11)
  const first = await rejection(reader.fetch(cidOf(block)))
  assert.equal(await rejection(reader.fetch(cidOf(block))), first)
  assert.equal(proxy.asked.get('block/get'), 1)
  await store(t, nodeAt(), [block])
  await until('it is asked for again', () =>
    reader.fetch(cidOf(block)).then(
      () => true,
      () => false,
    ),
  )
  assert.ok(reader.get(multihashOf(block))!.equals(block))
})

test('a block that Kubo returns altered is refused by name, and not kept', async t => {
  const proxy = await kuboProxy(t, kubo.rpc)
  const node = nodeAt(proxy.url)
  const block = blockOf(MIB, 7)
  await store(t, node, [block])
  const reader = new KuboBlocks(node)
  const changes: ((block: Buffer) => Buffer)[] = [
    bytes => Buffer.concat([bytes.subarray(0, 777), Buffer.of(bytes[777]! ^ 1), bytes.subarray(778)]),
    bytes => bytes.subarray(0, -1),
    bytes => Buffer.concat([bytes, Buffer.of(0)]),
    () => Buffer.alloc(0),
  ]
  for (const change of changes) {
    proxy.change = change
    assertSays(await rejection(reader.fetch(cidOf(block))), IntegrityError, [cidText(cidOf(block)), proxy.url])
    assert.equal(reader.has(multihashOf(block)), false)
  }
  proxy.change = undefined
  await reader.fetch(cidOf(block))
  assert.ok(reader.get(multihashOf(block))!.equals(block))
})

test('a node that is away is waited for until the deadline, and found when it comes back', async t => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const block = blockOf(100, 8)
  const away = nodeAt(url, 1)
  for (const ask of [() => away.check(), () => away.get(cidOf(block)), () => away.importCar(Buffer.alloc(1))]) {
    assertSays(await rejection(ask()), BlockStoreError, [url, 'ECONNREFUSED', 'cannot be reached'])
  }
  const patient = nodeAt(url, 30)
  const reader = new KuboBlocks(patient)
  const fetched = reader.fetch(cidOf(block))
  await store(t, nodeAt(), [block])
  const proxy = await kuboProxy(t, kubo.rpc, port)
  await fetched
  assert.ok(reader.get(multihashOf(block))!.equals(block))
  assert.ok((proxy.asked.get('block/get') ?? 0) > 0)
})

test('a node that does not answer is given up at the deadline', async t => {
  const url = await silentServer(t)
  const node = nodeAt(url, 1)
  const cid = cidOf(Buffer.from('x'))
  assertSays(await rejection(node.check()), BlockStoreError, [url, 'no answer in time'])
  assertSays(await rejection(node.get(cid)), BlockStoreError, [url, cidText(cid), 'no answer in time'])
})

for (const other of strangers) {
  test(`what is not a Kubo that lets us in is said in one line: ${other.what}`, async t => {
    const url = await stranger(t, other)
    const node = nodeAt(url, 1)
    assertSays(await rejection(node.check()), BlockStoreError, [url, other.says])
  })
}

test('a block is not taken from what is not Kubo', async t => {
  for (const other of strangers) {
    const url = await stranger(t, other)
    const error = await rejection(nodeAt(url, 1).get(cidOf(Buffer.from('some block'))))
    assert.ok(error instanceof BlockStoreError || error instanceof IntegrityError, error.stack)
    assert.ok(error.message.includes(url), error.message)
  }
})

test('pins have the name they are given, are taken away, and want every block to be there', async t => {
  const node = nodeAt()
  const blocks = [blockOf(500, 9), blockOf(501, 9)] as const
  await store(t, node, blocks)
  const cids = blocks.map(cidOf)
  const [first, second] = cids as [Buffer, Buffer]
  const pins = () => kubo.ipfs(['pin', 'ls', '--names', '-t', 'recursive']).toString()
  await node.add('a name: x y', cids)
  for (const cid of cids) assert.match(pins(), new RegExp(`^${cidText(cid)} recursive a name: x y$`, 'm'))
  await node.add('a name: x y', cids)
  await node.remove([first])
  assert.doesNotMatch(pins(), new RegExp(cidText(first)))
  assert.match(pins(), new RegExp(cidText(second)))
  // Once more, and what was never there.
  await node.remove([...cids, cidOf(Buffer.from('never pinned'))])
  assert.doesNotMatch(pins(), /a name/)
  // At once: the default would be to look for it in the network for minutes.
  const missing = cidOf(Buffer.from('never stored either'))
  assertSays(await rejection(node.add('missing', [missing])), BlockStoreError, [cidText(missing), 'not found'])
})

test('a body that ends in the middle is an error, never a short block', async t => {
  const block = blockOf(MIB, 10)
  const url = await listen(t, (incoming, response) => {
    incoming.resume()
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': block.length })
    response.write(block.subarray(0, MIB / 2), () => incoming.socket.destroy())
  })
  assertSays(await rejection(nodeAt(url, 1).get(cidOf(block))), BlockStoreError, [url, cidText(cidOf(block))])
})

test('the URL is one of http or https, without user and password', () => {
  const good: [string, string][] = [
    ['http://127.0.0.1:5001', 'http://127.0.0.1:5001'],
    ['http://127.0.0.1:5001/', 'http://127.0.0.1:5001'],
    ['https://ipfs.example.org/rpc/', 'https://ipfs.example.org/rpc'],
    ['HTTP://[::1]:5001', 'http://[::1]:5001'],
  ]
  for (const [text, url] of good) assert.equal(kuboUrl(text), url)
  for (const text of ['', 'x', '127.0.0.1:5001', 'localhost:5001', '/ip4/127.0.0.1/tcp/5001', 'ftp://x', 'http://']) {
    assert.throws(() => kuboUrl(text), UsageError, text)
  }
  assert.throws(
    () => kuboUrl('http://me:secret@127.0.0.1:5001'),
    (error: Error) => error instanceof UsageError && !error.message.includes('secret'),
  )
})
