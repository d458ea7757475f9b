import assert from 'node:assert/strict'
import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MemoryBlocks } from '../../src/blocks/memory.ts'
import { cidText } from '../../src/cid.ts'
import { EMPTY_NAME } from '../../src/nix/tree.ts'
import { TreeBuilder } from '../../src/unixfs/builder.ts'
import { kuboRepo } from '../helpers/kubo.ts'
import { tempFolder } from '../helpers/temp.ts'
import { RecordingNodes, tellFolder } from './support.ts'

/** As Kubo is asked here: nothing is stored. */
const HASH_ONLY = ['add', '-rQ', '--hidden', '--only-hash']

test('20,000 files, which shard to several levels, have the CID of Kubo', async t => {
  const kubo = await kuboRepo(t)
  const folder = tempFolder(t, 'unixfs')
  for (let i = 0; i < 20_000; i++) writeFileSync(join(folder, `file-${i}`), `${i % 50}`)
  const builder = new TreeBuilder({ writer: new MemoryBlocks(), nodes: new RecordingNodes() })
  tellFolder(builder, folder)
  assert.equal(
    cidText(builder.finish().root),
    kubo
      .ipfs([...HASH_ONLY, folder])
      .toString()
      .trim(),
  )
})

test('a file of 1 GiB and one byte has the CID of Kubo', async t => {
  const kubo = await kuboRepo(t)
  const path = join(tempFolder(t, 'unixfs'), 'sparse')
  const size = 1024 ** 3 + 1
  writeFileSync(path, '')
  truncateSync(path, size)
  const builder = new TreeBuilder({ writer: new MemoryBlocks(), nodes: new RecordingNodes() })
  builder.file(EMPTY_NAME, false, size)
  for (let room = builder.space(); room.length > 0; room = builder.space()) builder.filled(room.length)
  builder.endFile()
  assert.equal(
    cidText(builder.finish().root),
    kubo
      .ipfs([...HASH_ONLY, path])
      .toString()
      .trim(),
  )
})
