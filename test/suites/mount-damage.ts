import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { CID } from 'multiformats/cid'
import * as digest from 'multiformats/hashes/digest'
import { type Mount, mountStore } from '../helpers/mount.ts'
import { noise } from '../helpers/mount-fixture.ts'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { inMount, type Shared } from './mount.ts'

const MIB = 1024 * 1024

/** Bytes that one checksum covers: what a flipped bit may take with it. */
const PIECE = 65536

export function damageTests(shared: Shared): void {
  test('a flipped bit is EIO and a log line with path and CID, never a wrong byte', async t => {
    const { mount, path, packs, contents } = await damageable(t)
    // In the second of three blocks.
    const at = MIB + 5 * PIECE + 77
    flipBit(packs, contents.large.subarray(at - 32, at + 32), 32)

    for (const how of ['direct', 'cached']) {
      const pieces = Array.from({ length: Math.ceil(contents.large.length / PIECE) }, (_, i) => i)
      const input = pieces.map(i => `${i * PIECE} ${PIECE}`).join('\n')
      const said = await output(shared().fixture.probe, ['pread', how, `${path}/large`], { input })
      const expected = pieces.map(i => {
        const bytes = contents.large.subarray(i * PIECE, (i + 1) * PIECE)
        const hit = Math.floor(at / PIECE) === i
        return Buffer.concat([Buffer.from(hit ? 'EIO\n' : `${bytes.length}\n`), hit ? Buffer.alloc(0) : bytes])
      })
      assert.ok(said.equals(Buffer.concat(expected)), how)
    }
    assert.deepEqual(await inspect('read', [`${path}/large`, `${path}/small`]), ['EIO', `${contents.small.length}`])
    assert.deepEqual(await readBack(`${path}/small`), contents.small)

    const cid = rawCid(contents.large.subarray(MIB, 2 * MIB))
    const line = mount
      .stderr()
      .split('\n')
      .find(line => line.includes(cid))
    assert.ok(line !== undefined, `no line with ${cid}: ${mount.stderr()}`)
    assert.match(line, /^nix-ipfs-mount: /)
    assert.ok(line.includes(`${basename(path)}/large`), line)
  })

  test('a missing block is EIO and a log line at once, and what is here goes on', async t => {
    let hidden = ''
    // Before a server opens what it will read.
    const { mount, path, packs, contents, addMore } = await damageable(t, packs => {
      hidden = `${packs}-elsewhere`
      mkdirSync(hidden)
      for (const name of readdirSync(packs)) renameSync(join(packs, name), join(hidden, name))
    })
    const more = await addMore()

    assert.deepEqual(await inspect('read', [`${path}/small`, `${path}/large`]), ['EIO', 'EIO'])
    assert.deepEqual(await inspect('stat', [`${path}/missing`]), ['ENOENT'])
    assert.deepEqual(await readBack(`${more}/file`), contents.more)
    const cid = rawCid(contents.small)
    const line = mount
      .stderr()
      .split('\n')
      .find(line => line.includes(cid))
    assert.ok(line?.includes(`${basename(path)}/small`), mount.stderr())

    for (const name of readdirSync(hidden)) renameSync(join(hidden, name), join(packs, name))
    // The failure was not kept.
    assert.deepEqual(await readBack(`${path}/small`), contents.small)
    assert.deepEqual(await readBack(`${path}/large`), contents.large)
  })

  const inspect = async (how: string, paths: readonly string[]) =>
    `${await output(shared().fixture.probe, [how, ...paths])}`.trim().split('\n')

  const readBack = (file: string) => output('cat', [file])

  /** A mount of a state of its own, with one path in it. */
  async function damageable(t: TestContext, damage: (packs: string) => void = () => {}) {
    const state = tempFolder(t, 'state')
    const contents = { large: noise(21, 3 * MIB - 100), small: noise(22, 1000), more: noise(23, 5000) }
    const addFolder = async (name: string, files: Record<string, Buffer>) => {
      const folder = join(tempFolder(t, 'tree'), name)
      mkdirSync(folder)
      for (const [file, bytes] of Object.entries(files)) writeFileSync(join(folder, file), bytes)
      const { code, stdout, stderr } = await cli(['add', folder, '--state', state])
      assert.equal(code, 0, stderr)
      return `${stdout}`.trim()
    }
    const added = await addFolder('damaged', { large: contents.large, small: contents.small })
    damage(join(state, 'packs'))
    const mount: Mount = await mountStore(t, { state, args: shared().driver.args })
    return {
      mount,
      contents,
      path: inMount(mount, added),
      packs: join(state, 'packs'),
      addMore: async () => {
        const path = inMount(mount, await addFolder('more', { file: contents.more }))
        await output('sh', ['-c', 'until test -e "$0"; do sleep 0.05; done', path], { timeout: 30_000 })
        return path
      },
    }
  }
}

/** Flips a bit of the byte at `offset` of these bytes, where they lie in a pack. */
function flipBit(packs: string, bytes: Buffer, offset: number): void {
  for (const name of readdirSync(packs)) {
    const file = join(packs, name)
    const at = readFileSync(file).indexOf(bytes)
    if (at < 0) continue
    const fd = openSync(file, 'r+')
    writeSync(fd, Buffer.from([bytes[offset]! ^ 0x10]), 0, 1, at + offset)
    closeSync(fd)
    return
  }
  throw new Error(`no file of ${packs} has these bytes`)
}

/** The CID of a raw block, as js-multiformats writes it. */
function rawCid(bytes: Uint8Array): string {
  return CID.createV1(0x55, digest.create(0x12, createHash('sha256').update(bytes).digest())).toString()
}
