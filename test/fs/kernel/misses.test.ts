import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import { MemoryBlocks } from '../../../src/blocks/memory.ts'
import { Misses } from '../../../src/fs/kernel/misses.ts'
import { Fetcher } from '../../../src/store/fetch.ts'
import { StoreReader } from '../../../src/store/reader.ts'
import { E, type Reply } from '../../helpers/kernel-replies.ts'
import { RecordedDevice } from '../../helpers/recorded-device.ts'
import { nodeAt, Serving, storeWith } from '../../helpers/served-store.ts'
import { interrupt, makeRequest, OPCODE, read, uniqueOf, withBody } from '../../helpers/synthetic-kernel.ts'
import { until } from '../../helpers/until.ts'
import { large, MIB, trees } from '../protocol/trees.ts'

// Requests that wait for blocks, over a store whose blocks are all somewhere else.

const store = await storeWith({ after }, trees)
const file = nodeAt(store, 'tree', 'large').id

/** A gate that fetches wait at, and what they brought. */
class Elsewhere {
  readonly blocks = new MemoryBlocks()
  fetches = 0
  #open!: () => void
  #fail!: (error: Error) => void
  #gate!: Promise<void>

  constructor() {
    this.close()
  }

  close(): void {
    this.#gate = new Promise((resolve, reject) => {
      this.#open = resolve
      this.#fail = reject
    })
    this.#gate.catch(() => {})
  }

  open(): void {
    this.#open()
  }

  break(message: string): void {
    this.#fail(new Error(message))
  }

  /** A raw CIDv1 is 4 bytes and the digest; the multihash are its last 34. */
  async fetch(cid: Uint8Array): Promise<void> {
    this.fetches++
    await this.#gate
    this.blocks.put(cid.subarray(4), store.reader.blocks.get(cid.subarray(2))!)
  }
}

function fixture(t: TestContext) {
  const elsewhere = new Elsewhere()
  const reader = new StoreReader(store.index, elsewhere.blocks, cid => elsewhere.fetch(cid))
  const { dispatcher } = new Serving(store, { reader })
  const device = new RecordedDevice(t)
  const fetcher = new Fetcher(reader)
  const failures: string[] = []
  const misses = new Misses({
    fd: device.fd,
    dispatcher,
    fetch: miss => fetcher.fetch(miss),
    failed: (request, error) => failures.push(`${dispatcher.describe(request)}: ${(error as Error).message}`),
  })
  return { elsewhere, device, misses, failures }
}

test('a request is answered when its block is there, and only then', async t => {
  const { elsewhere, device, misses } = fixture(t)
  const request = read(file, 100, 5000)
  const done = misses.take(request)
  assert.deepEqual([misses.waiting, misses.total], [1, 1])
  assert.deepEqual(device.replies(), [])
  elsewhere.open()
  await done
  const [reply, ...more] = device.replies()
  assert.deepEqual(reply, { error: 0, unique: uniqueOf(request), body: large.subarray(100, 5100) })
  assert.deepEqual(more, [])
  assert.deepEqual([misses.waiting, misses.total], [0, 1])
})

test('a request over two blocks waits for both, and is answered once', async t => {
  const { elsewhere, device, misses } = fixture(t)
  elsewhere.open()
  await misses.take(read(file, MIB - 10, 20))
  assert.equal(elsewhere.fetches, 2)
  const replies = device.replies()
  assert.equal(replies.length, 1)
  assert.ok(replies[0]!.body.equals(large.subarray(MIB - 10, MIB + 10)))
})

test('a block that came meanwhile is not fetched again', async t => {
  const { elsewhere, device, misses } = fixture(t)
  elsewhere.open()
  await misses.take(read(file, 0, 10))
  await misses.take(read(file, 10, 10))
  assert.equal(elsewhere.fetches, 1)
  assert.deepEqual(
    device.replies().map(({ body }) => body),
    [large.subarray(0, 10), large.subarray(10, 20)],
  )
})

test('two requests that wait for one block are both answered', async t => {
  const { elsewhere, device, misses } = fixture(t)
  const requests = [read(file, 0, 10), read(file, 10, 10)]
  const done = requests.map(request => misses.take(request))
  assert.equal(misses.waiting, 2)
  elsewhere.open()
  await Promise.all(done)
  assert.deepEqual(
    device.replies().map(({ unique, body }) => [unique, body]),
    [
      [uniqueOf(requests[0]!), large.subarray(0, 10)],
      [uniqueOf(requests[1]!), large.subarray(10, 20)],
    ],
  )
})

test('a block that cannot be had is EIO, and the failure says where', async t => {
  const { elsewhere, device, misses, failures } = fixture(t)
  const request = read(file, 0, 10)
  const done = misses.take(request)
  elsewhere.break('nobody has it')
  await done
  assert.deepEqual(device.replies(), [{ error: E.EIO, unique: uniqueOf(request), body: Buffer.alloc(0) }])
  assert.equal(failures.length, 1)
  assert.match(failures[0]!, /^\/nix\/store\/[^/]+-tree\/large: READ: nobody has it$/)
  assert.equal(misses.waiting, 0)
})

test('after a failure the same bytes can be had', async t => {
  const { elsewhere, device, misses } = fixture(t)
  elsewhere.break('not yet')
  await misses.take(read(file, 0, 10))
  elsewhere.close()
  elsewhere.open()
  await misses.take(read(file, 0, 10))
  assert.deepEqual(
    device.replies().map(({ error }) => error),
    [E.EIO, 0],
  )
})

test('an interrupted request is EINTR at once, through its own number, and nothing comes after it', async t => {
  const { elsewhere, device, misses, failures } = fixture(t)
  const request = read(file, 0, 10)
  const done = misses.take(request)
  misses.interrupt(interrupt(uniqueOf(request)))
  // A second signal finds it interrupted.
  misses.interrupt(interrupt(uniqueOf(request)))
  await done
  const interrupted = [{ error: E.EINTR, unique: uniqueOf(request), body: Buffer.alloc(0) }]
  assert.deepEqual(device.replies(), interrupted)
  // Its block still comes: others may want it.
  elsewhere.open()
  await until('the block is there', () => elsewhere.blocks.size === 1)
  assert.deepEqual(device.replies(), [])
  assert.deepEqual([failures, misses.waiting], [[], 0])
})

test('what is interrupted and fails afterwards is no failure', async t => {
  const { elsewhere, device, misses, failures } = fixture(t)
  const request = read(file, 0, 10)
  const done = misses.take(request)
  misses.interrupt(interrupt(uniqueOf(request)))
  await done
  elsewhere.break('too late')
  await misses.take(read(file, 0, 10))
  assert.deepEqual(
    device.replies().map(({ error }) => error),
    [E.EINTR, E.EIO],
  )
  assert.equal(failures.length, 1)
})

test('an interrupt ends only the request that it is about', async t => {
  const { elsewhere, device, misses } = fixture(t)
  // The second was sent again by the kernel after a failover, which sets bit 63 of its number.
  const again = makeRequest(OPCODE.READ, file, read(file, 0, 10).subarray(40), 2n ** 63n + 100n)
  const first = makeRequest(OPCODE.READ, file, read(file, 0, 10).subarray(40), 100n)
  const done = [misses.take(first), misses.take(again)]
  misses.interrupt(interrupt(2n ** 63n + 100n))
  await done[1]
  assert.deepEqual(
    device.replies().map(({ error, unique }) => [error, unique]),
    [[E.EINTR, 2n ** 63n + 100n]],
  )
  elsewhere.open()
  await done[0]
  assert.deepEqual(
    device.replies().map(({ error, unique }) => [error, unique]),
    [[0, 100n]],
  )
})

test('an interrupt of what is not known makes the kernel ask again', async t => {
  const { elsewhere, device, misses } = fixture(t)
  elsewhere.open()
  const answered = read(file, 0, 10)
  await misses.take(answered)
  device.replies()
  const unknown = [interrupt(uniqueOf(answered)), interrupt(4n)]
  // Without the number that it is about, it is about nothing that is known.
  const short = withBody(interrupt(6n), Buffer.alloc(4))
  for (const request of [...unknown, short]) misses.interrupt(request)
  const replies: Reply[] = []
  await until('three answers', () => replies.push(...device.replies()) === 3)
  assert.deepEqual(
    replies.map(({ error, unique }) => [error, unique]),
    [...unknown, short].map(request => [E.EAGAIN, uniqueOf(request)]),
  )
})
