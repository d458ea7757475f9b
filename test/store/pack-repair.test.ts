import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import { currentOwner } from '../../src/blocks/owner.ts'
import { listPacks, scanPacks } from '../../src/blocks/pack-scan.ts'
import { PackStaging } from '../../src/blocks/pack-staging.ts'
import { sha256, sha256Multihash } from '../../src/cid.ts'
import { rebuildStore, type Store } from '../../src/cli/compose.ts'
import { readConfig } from '../../src/cli/config.ts'
import { checkPacks } from '../../src/store/pack-check.ts'
import { cleanSettings, cliProgram } from '../helpers/run.ts'
import { withStore } from '../helpers/store.ts'
import { tempFolder } from '../helpers/temp.ts'

/** Stores blocks that no path has, in one pack. */
async function storeBlocks({ index, state }: Store, ...batches: Buffer[][]): Promise<void> {
  const allocate = () => index.allocatePack(currentOwner())
  const staging = new PackStaging(state.packs, { epoch: index.epoch, allocate, known: () => false })
  for (const blocks of batches) {
    for (const block of blocks) staging.put(sha256(block), block)
    index.commitBlocks(await staging.sync())
  }
  await staging.close()
}

/** Multihashes of the blocks in a folder of packs, pack by pack, as a scan finds them. */
function scanned(folder: string): Map<number, string[]> {
  const found = new Map(listPacks(folder).map(pack => [pack, [] as string[]]))
  for (const { blocks } of scanPacks(folder))
    for (const { multihash, location } of blocks) found.get(location.pack)!.push(Buffer.from(multihash).toString('hex'))
  return found
}

const hashOf = (block: Buffer) => sha256Multihash(sha256(block)).toString('hex')

test('more blocks than are copied at a time come into the new pack in their order, and each once', async t => {
  await withStore(join(tempFolder(t), 'state'), async store => {
    const { index, state, reader } = store
    const blocks = Array.from({ length: 66_000 }, (_, i) => Buffer.from(i === 32_768 ? '' : `block ${i}`))
    const kept = [Buffer.from('in a pack that is sound')]
    await storeBlocks(store, blocks.slice(0, 20_000), blocks.slice(20_000))
    await storeBlocks(store, kept)
    assert.deepEqual(store.checkPacks().problems, [])
    const file = join(state.packs, '1.pack')
    const bytes = readFileSync(file)
    bytes[32 + 20 + 5]! ^= 1
    writeFileSync(file, bytes)

    const check = store.checkPacks()
    assert.deepEqual(
      check.problems.map(({ pack, file, from }) => ({ pack, file, from })),
      [{ pack: 1, file, from: 32 }],
    )
    assert.deepEqual(await store.repairPacks(check), { blocks: blocks.length, records: 0 })
    assert.deepEqual(store.checkPacks().problems, [])
    assert.deepEqual(
      [...scanned(state.packs)],
      [
        [1, []],
        [2, kept.map(hashOf)],
        [3, blocks.map(hashOf)],
      ],
    )
    for (const block of blocks) {
      const multihash = sha256Multihash(sha256(block))
      assert.equal(index.locate(multihash)?.pack, 3)
      assert.ok(reader.blocks.get(multihash)?.equals(block))
    }
  })
})

test('what another process adds while the packs are read does not count yet', async t => {
  const state = join(tempFolder(t), 'state')
  await withStore(state, ({ index }) => {
    const packs = {
      fileOf: String,
      read: () => {
        const add = [cliProgram, 'add', '--state', state, import.meta.dirname]
        execFileSync(process.execPath, add, { env: cleanSettings() })
        return []
      },
    }
    assert.deepEqual(checkPacks(index, packs), { problems: [], unrecorded: new Set() })
    // A check that begins now finds that it is in no pack that is read.
    const { problems, unrecorded } = checkPacks(index, { fileOf: String, read: () => [] })
    assert.deepEqual(
      problems.map(({ file }) => file),
      ['1'],
    )
    assert.equal(unrecorded.size, 1)
  })
})

test('what cannot be copied keeps its place, and the others are copied', async t => {
  await withStore(join(tempFolder(t), 'state'), async store => {
    const [good, bad] = [Buffer.from('a good block'), Buffer.from('a bad block')]
    await storeBlocks(store, [good, bad])
    const file = join(store.state.packs, '1.pack')
    const bytes = readFileSync(file)
    bytes[32]! ^= 1
    bytes[bytes.indexOf(bad)]! ^= 1
    writeFileSync(file, bytes)
    assert.equal((await store.repairPacks(store.checkPacks())).blocks, 1)
    const packOf = (block: Buffer) => store.index.locate(sha256Multihash(sha256(block)))?.pack
    assert.deepEqual([packOf(good), packOf(bad)], [2, 1])
    assert.deepEqual(
      store.checkPacks().problems.map(({ pack }) => pack),
      [1],
    )
    assert.equal(store.dropDamaged(), 1)
    assert.deepEqual(store.checkPacks().problems, [])
  })
})

test('a pack of a newer version is refused, by a check and by a rebuild', async t => {
  const state = join(tempFolder(t), 'state')
  const refused = { name: 'StateError', message: /1\.pack: has version 2; use a newer/ }
  await withStore(state, async store => {
    await storeBlocks(store, [Buffer.from('a block')])
    const file = join(store.state.packs, '1.pack')
    const bytes = readFileSync(file)
    bytes.writeUInt32LE(2, 8)
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 28)), 28)
    writeFileSync(file, bytes)
    assert.throws(() => store.checkPacks(), refused)
  })
  rmSync(join(state, 'index'), { recursive: true })
  await assert.rejects(rebuildStore(readConfig({ state }, {})), refused)
})
