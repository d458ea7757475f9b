import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { onCleanup } from '../helpers/cleanup.ts'
import type { FixedAnswer, KuboProxy } from '../helpers/kubo-proxy.ts'
import type { Mount } from '../helpers/mount.ts'
import { output, run, stopProcess } from '../helpers/run.ts'
import { until } from '../helpers/until.ts'
import { byteSum, type MissingFiles } from './missing-files.ts'
import type { Shared } from './mount.ts'

const MIB = 1024 * 1024
const READERS = 32

const broken: FixedAnswer = { status: 500, type: 'application/json', body: '{"Message":"the disk is broken"}' }

/** Reads of what is not here, while what brings it is slow, fails or lies. */
export function missTests(shared: Shared, missing: () => MissingFiles): void {
  test('a program comes whole at its first read, and runs on when nothing more can be had', async t => {
    const { mount, path } = await missing().mount(t)
    assert.equal((await start(path.program)).code, 42)
    assert.deepEqual(await fetched(mount), {
      blocks: missing().blocks('program').length,
      bytes: missing().contents.program.length,
    })
    missing().proxy.instead = broken
    assert.deepEqual(await start(path.program, 'sum'), {
      code: 0,
      signal: null,
      stdout: `${byteSum(missing().cargo)}\n`,
    })
    assert.equal(mount.stderr(), '')
  })

  test('what is mapped after its first bytes were read never fails later', async t => {
    const { mount, path } = await missing().mount(t)
    for (const name of ['library', 'small'] as const) {
      const child = spawn(shared().fixture.probe, ['map', path[name]], { stdio: ['pipe', 'pipe', 'inherit'] })
      onCleanup(t, () => stopProcess(child, 'SIGKILL'))
      const ended = once(child, 'close')
      const said = text(child.stdout)
      await once(child.stdout, 'data', { signal: AbortSignal.timeout(30_000) })
      missing().proxy.instead = broken
      child.stdin.end('\n')
      assert.deepEqual(await ended, [0, null])
      assert.equal(await said, `mapped\n${byteSum(missing().contents[name])}\n`)
      missing().proxy.instead = undefined
    }
    const both = [...missing().blocks('library'), ...missing().blocks('small')]
    assert.deepEqual(await fetched(mount), {
      blocks: both.length,
      bytes: missing().bytes('library') + missing().bytes('small'),
    })
  })

  for (const [what, fault] of [
    ['cannot be had', (cid: string) => ({ instead: asked => (asked === cid ? broken : undefined) })],
    ['comes altered', (cid: string) => ({ change: (block, asked) => (asked === cid ? flipped(block) : block) })],
  ] as [string, (cid: string) => Partial<KuboProxy>][]) {
    test(`a program or library of which the last block ${what}: an error at its first read, each time`, async t => {
      const { mount, path } = await missing().mount(t)
      for (const name of ['program', 'library'] as const) {
        const cid = missing().blocks(name).at(-1)!
        Object.assign(missing().proxy, fault(cid))
        for (let attempt = 0; attempt < 3; attempt++) {
          if (name === 'program') {
            const { code, signal, stderr } = await run('env', [path.program, 'sum'])
            assert.deepEqual({ code, signal }, { code: 126, signal: null }, stderr)
            assert.match(stderr, /Input\/output error\n$/)
          } else assert.equal(`${await output(shared().fixture.probe, ['map', path.library])}`, 'EIO\n')
        }
        assert.ok(mount.stderr().includes(cid), mount.stderr())
        missing().heal()
      }
      await until('it runs', async () => (await start(path.program)).code === 42)
      assert.equal((await start(path.program, 'sum')).stdout, `${byteSum(missing().cargo)}\n`)
      assert.ok((await output('cat', [path.library])).equals(missing().contents.library))
    })
  }

  test('of another large file only the blocks come that a read touches', async t => {
    const { path } = await missing().mount(t)
    const blocks = missing().blocks('data')
    const ranges = [
      { how: 'direct', offset: 5 * MIB + 100, length: 10, touched: [5] },
      { how: 'cached', offset: 3 * MIB - 5000, length: 4000, touched: [2] },
      { how: 'direct', offset: 7 * MIB - 1, length: 2, touched: [6, 7] },
      { how: 'cached', offset: 4096, length: 4096, touched: [0] },
      { how: 'cached', offset: 5 * MIB, length: 5000, touched: [5] },
    ]
    for (const { how, offset, length } of ranges) {
      const said = await output(shared().fixture.probe, ['pread', how, path.data], { input: `${offset} ${length}` })
      const bytes = missing().contents.data.subarray(offset, offset + length)
      assert.ok(said.equals(Buffer.concat([Buffer.from(`${length}\n`), bytes])), `${length} at ${offset}`)
    }
    const touched = [...new Set(ranges.flatMap(range => range.touched))].map(i => blocks[i]!)
    assert.deepEqual([...missing().proxy.blocks.keys()].sort(), touched.sort())
  })

  test(`${READERS} readers of the same and of different blocks: each is fetched once`, async t => {
    const { mount, path } = await missing().mount(t)
    const release = missing().proxy.hold()
    const count = missing().blocks('data').length
    const readers = Array.from({ length: READERS }, async (_, i) => {
      const offset = (i % 2 ? 0 : ((i / 2) % count) * MIB) + i * 4096
      const said = await output(shared().fixture.probe, ['pread', 'direct', path.data], { input: `${offset} 4096` })
      return said.subarray(5).equals(missing().contents.data.subarray(offset, offset + 4096))
    })
    await until('all wait', async () => (await mount.status()).inFlight === READERS)
    release()
    assert.ok((await Promise.all(readers)).every(Boolean))
    assert.deepEqual([...missing().proxy.blocks.values()], Array(count).fill(1))
    assert.equal((await mount.status()).inFlight, 0)
  })

  test('blocks that do not come, however many, keep no other block waiting', async t => {
    const { mount, path } = await missing().mount(t)
    const stuck = missing().blocks('data')
    const release = missing().proxy.hold(cid => stuck.includes(cid))
    onCleanup(t, release)
    const readers = stuck.map((_, i) =>
      output(shared().fixture.probe, ['pread', 'direct', path.data], { input: `${i * MIB} 4096` }),
    )
    await until('all wait', async () => (await mount.status()).inFlight === stuck.length)
    assert.ok((await output('cat', [path.small])).equals(missing().contents.small))
    assert.equal((await start(path.program)).code, 42)
    assert.equal((await mount.status()).inFlight, stuck.length)
    release()
    for (const said of await Promise.all(readers)) assert.equal(said.length, '4096\n'.length + 4096)
  })

  const start = async (...command: string[]) => {
    const { code, signal, stdout } = await run('env', command)
    return { code, signal, stdout: `${stdout}` }
  }
}

/** What the mount has fetched so far. */
async function fetched(mount: Mount): Promise<{ blocks: number; bytes: number }> {
  const { blocks, bytes } = Object.values((await mount.status()).fetched)[0]!
  return { blocks, bytes }
}

function flipped(block: Buffer): Buffer {
  const copy = Buffer.from(block)
  copy[copy.length >> 1]! ^= 1
  return copy
}
