import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, type TestContext, test } from 'node:test'
import type { Store } from '../../../src/cli/compose.ts'
import type { FromSupervisor } from '../../../src/fs/kernel/ipc.ts'
import { narChunks } from '../../../src/store/nar-source.ts'
import { buildHelper } from '../../helpers/compile.ts'
import { FakeMount, type FakeMountOptions } from '../../helpers/fake-mount.ts'
import { decodeDirents, decodeEntry, E } from '../../helpers/kernel-replies.ts'
import { startKubo } from '../../helpers/kubo.ts'
import { kuboProxy } from '../../helpers/kubo-proxy.ts'
import { nodeAt, pathNamed, storeWith } from '../../helpers/served-store.ts'
import {
  forget,
  getattr,
  init,
  interrupt,
  lookup,
  makeRequest,
  OPCODE,
  read,
  readdir,
  readlink,
  statfs,
  uniqueOf,
} from '../../helpers/synthetic-kernel.ts'
import { tempFolder } from '../../helpers/temp.ts'
import { until } from '../../helpers/until.ts'
import { contentsOf, large, MIB, trees } from '../protocol/trees.ts'

// A server process, its threads and its loop, on a device that is not the kernel's.

const onlyTree = { tree: trees.tree! }
/** For tests that leave it as it is. */
const shared = await storeWith({ after }, onlyTree)
const device = await buildHelper(tempFolder({ after }, 'fake-device'), 'fake-device')
const ofLinux618 = { minor: 45, flags: 0x73fffffb, flags2: 0x5fd }
const start = (more: Partial<FromSupervisor & { type: 'start' }> = {}) =>
  ({ type: 'start', negotiated: undefined, resend: false, highestNode: 0, ...more }) as const

/** A server that waits for the word to start. */
async function ready(t: TestContext, store: Store, options: Partial<FakeMountOptions> = {}): Promise<FakeMount> {
  const mount = new FakeMount(t, { device, config: store.config, ...options })
  await mount.hears('ready')
  return mount
}

/** A server that serves, on what an earlier one has negotiated. */
async function serving(t: TestContext, store: Store, options: Partial<FakeMountOptions> = {}): Promise<FakeMount> {
  const mount = await ready(t, store, options)
  mount.send(start({ negotiated: '00' }))
  await mount.hears('serving')
  return mount
}

test('a first server takes nothing before the word, and answers INIT when its answer is kept', async t => {
  const mount = await ready(t, shared)
  const answers: string[] = []
  const granted = mount.ask(init(ofLinux618)).then(reply => {
    answers.push('INIT')
    return reply
  })
  // INIT waits for the supervisor; what comes after it waits for nobody.
  const asked = mount.ask(getattr(1)).then(() => answers.push('GETATTR'))
  mount.send({ type: 'status', id: 1 })
  const { status } = await mount.hears('status')
  assert.deepEqual([status.messages, status.paths, answers], [0, 0, []])

  mount.send(start())
  const { negotiated } = await mount.hears('negotiated')
  await asked
  assert.deepEqual(answers, ['GETATTR'])
  mount.send({ type: 'kept' })
  const reply = await granted
  assert.equal(reply.error, 0)
  assert.equal(reply.body.toString('hex'), negotiated)
  assert.equal(reply.body.readUInt32LE(4), 45)
  assert.deepEqual(await mount.hears('serving'), { type: 'serving', resend: true })
})

test('requests of all kinds, many at once, each get their own answer', async t => {
  const mount = await serving(t, shared)
  const tree = nodeAt(shared, 'tree').id
  const file = nodeAt(shared, 'tree', 'large').id
  const asked: Promise<void>[] = []
  for (let i = 0; i < 40; i++) {
    const offset = i * 61_001
    asked.push(
      mount.ask(read(file, offset, 65536)).then(({ body }) => {
        assert.ok(body.equals(large.subarray(offset, offset + 65536)))
      }),
      mount.ask(lookup(tree, 'hello')).then(({ body }) => {
        assert.equal(decodeEntry(body).nodeid, BigInt(nodeAt(shared, 'tree', 'hello').id))
      }),
      mount.ask(readlink(nodeAt(shared, 'tree', 'link').id)).then(({ body }) => assert.equal(`${body}`, 'hello')),
      mount.ask(readdir(tree, 0, 4096, true)).then(({ body }) => assert.ok(decodeDirents(body, true).length > 2)),
    )
    mount.write(forget(tree, 1n))
  }
  await Promise.all(asked)
  assert.ok((await mount.ask(read(file, MIB, MIB))).body.equals(large.subarray(MIB, 2 * MIB)))

  mount.send({ type: 'status', id: 2 })
  const { status } = await mount.hears('status')
  assert.deepEqual(status.requests, { LOOKUP: 40, FORGET: 40, READLINK: 40, READ: 41, READDIRPLUS: 40 })
  assert.deepEqual([status.messages, status.failures, status.malformed, status.misses], [201, 0, 0, 0])
  assert.equal(status.paths, 1)
})

test('requests that make no sense are refused, and the next is answered', async t => {
  const mount = await serving(t, shared)
  const good = lookup(1, 'x')
  // What is too short to be about anything, also where the bytes of an older request lie behind it.
  for (const length of [1, 7, 8, 15]) mount.write(good.subarray(0, length))
  for (const length of [16, 39]) assert.equal((await mount.answer(good.subarray(0, length))).error, E.EINVAL)
  const [cutInterrupt, cutInit] = [interrupt(2n), init(ofLinux618)]
  for (const length of [4, 15, 20, 47]) mount.write(cutInterrupt.subarray(0, length))
  for (const length of [20, 47]) assert.equal((await mount.answer(cutInit.subarray(0, length))).error, E.EINVAL)
  assert.equal((await mount.answer(makeRequest(77, 1))).error, E.ENOSYS)
  assert.equal((await mount.answer(makeRequest(2 ** 31, 1))).error, E.ENOSYS)
  assert.equal((await mount.ask(statfs())).error, 0)
})

test('an interrupt of what is being answered is to be asked again', async t => {
  const mount = await serving(t, shared)
  assert.equal((await mount.answer(interrupt(1000n))).error, E.EAGAIN)
})

test('a request that waits for a block can be interrupted; what needs no block is answered meanwhile', async t => {
  const kubo = await startKubo(t)
  const proxy = await kuboProxy(t, kubo.rpc)
  const store = await storeWith(t, onlyTree, `kubo:${proxy.url}`)
  const file = nodeAt(store, 'tree', 'large').id
  const mount = await serving(t, store)
  const inFlight = async (count: number) => {
    await until(`${count} requests wait`, async () => {
      mount.send({ type: 'status', id: 5 })
      return (await mount.hears('status')).status.inFlight === count
    })
  }
  const letGo = proxy.hold()
  proxy.asked.clear()
  const requests = [read(file, 0, 4096), read(file, 4096, 4096), read(file, 8192, 4096)]
  const [first, second, third] = requests.map(request => mount.ask(request))
  await inFlight(3)
  assert.equal((await mount.ask(getattr(file))).error, 0)
  mount.write(interrupt(uniqueOf(requests[1]!)))
  assert.equal((await second!).error, E.EINTR)
  await inFlight(2)
  letGo()
  assert.ok((await first!).body.equals(large.subarray(0, 4096)))
  assert.ok((await third!).body.equals(large.subarray(8192, 12288)))
  // They waited for one block, which was asked for once.
  assert.equal(proxy.asked.get('block/get'), 1)
})

test('what takes a block that nobody has is EIO, and status says which path', async t => {
  const store = await storeWith(t, onlyTree)
  const file = nodeAt(store, 'tree', 'large').id
  rmSync(store.state.packs, { recursive: true })
  const mount = await serving(t, store)
  assert.equal((await mount.ask(read(file, 0, 4096))).error, E.EIO)
  assert.equal((await mount.ask(getattr(file))).error, 0)
  mount.send({ type: 'status', id: 3 })
  const { status } = await mount.hears('status')
  assert.equal(status.failures, 1)
  const { message } = status.lastErrors[0]!
  assert.match(message, /^\/nix\/store\/[^/]+-tree\/large: READ: /)
  await until('the log has it', () => mount.log === `nix-ipfs-mount: ${message}\n`)
})

test('a server that follows another makes pending again what that had taken, before it reads', async t => {
  const mount = await ready(t, shared)
  mount.send(start({ negotiated: '00', resend: true }))
  assert.deepEqual(await mount.hears('serving'), { type: 'serving', resend: true })
  // struct fuse_out_header with FUSE_NOTIFY_RESEND, once.
  await until('a notification', () => mount.notifications.length > 0)
  assert.deepEqual(
    mount.notifications.map(message => message.toString('hex')),
    ['10000000070000000000000000000000'],
  )
  // Such a request has bit 63 in its number.
  const again = makeRequest(OPCODE.STATFS, 1, Buffer.alloc(0), 2n ** 63n + 2n)
  assert.equal((await mount.ask(again)).error, 0)
})

test('on a kernel that cannot make requests pending again, nothing is read', async t => {
  const mount = await ready(t, shared, { noResend: true })
  mount.send(start({ negotiated: '00', resend: true }))
  assert.deepEqual(await mount.hears('serving'), { type: 'serving', resend: false })
  mount.write(statfs())
  mount.send({ type: 'status', id: 4 })
  const { status } = await mount.hears('status')
  assert.deepEqual([status.messages, mount.notifications], [0, []])
})

test('a kernel that is too old is refused by name', async t => {
  const mount = await ready(t, shared)
  mount.send(start())
  assert.equal((await mount.ask(init({ minor: 22, flags: 0 }))).error, E.EPROTO)
  const { why } = await mount.hears('failed')
  assert.match(why, /speaks FUSE 7\.22/)
})

test('an index that is older than what the kernel knows ends the mount', async t => {
  const mount = await ready(t, shared)
  mount.send(start({ negotiated: '00', highestNode: shared.index.nextNode() + 1 }))
  const { why } = await mount.hears('failed')
  assert.match(why, /index was replaced/)
})

test('what is added and forgotten while it serves is seen, and the kernel is told', async t => {
  const store = await storeWith(t, { tree: contentsOf('first') })
  const mount = await serving(t, store)
  const { node } = await mount.hears('highest')
  assert.equal(node, store.index.nextNode())

  const later = await storeWith(t, { later: contentsOf('later') })
  const { baseName } = pathNamed(later, 'later')
  assert.equal((await mount.ask(lookup(1, baseName))).error, E.ENOENT)
  const ingest = store.ingest({ pin: false })
  await ingest.addNar(narChunks(later.reader, pathNamed(later, 'later')), 'later')
  await ingest.commit()
  await ingest.close()
  store.index.refresh()
  const { nodeid } = decodeEntry((await mount.ask(lookup(1, baseName))).body)
  assert.equal(nodeid, BigInt(pathNamed(store, 'later').firstNode))
  assert.equal((await mount.hears('highest')).node, store.index.nextNode())
  const told = (code: number) => mount.notifications.filter(message => message.readInt32LE(4) === code)
  await until('the listing is dropped', () => told(2).length > 0)

  assert.equal(told(3).length, 0)
  store.index.forget(baseName)
  await until('the name is dropped twice', () => told(3).length === 2)
  for (const message of told(3)) assert.equal(message.toString('latin1', 32, message.length - 1), baseName)
  assert.equal((await mount.ask(lookup(1, baseName))).error, E.ENOENT)
})

test('without a supervisor a server ends', async t => {
  const mount = await serving(t, shared)
  mount.disconnect()
  await mount.ended
})
