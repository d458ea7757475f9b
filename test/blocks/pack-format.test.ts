import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  BATCH_HEADER_BYTES,
  decodeBatch,
  decodePackHeader,
  encodeBatchHeader,
  encodePackHeader,
  writeBlockRow,
  writeRecordRow,
} from '../../src/blocks/pack-format.ts'
import { checksumsOf } from '../../src/blocks/types.ts'
import { ByteWriter } from '../../src/bytes.ts'
import { sha256, sha256Multihash } from '../../src/cid.ts'

const seed = 11

const bytes = fc.uint8Array({ maxLength: 300 }).map(array => Buffer.from(array))
const row = fc.oneof(
  bytes.map(block => ({ block })),
  bytes.map(record => ({ record })),
)

/** A batch's header and table. */
function encode(rows: readonly ({ block: Buffer } | { record: Buffer })[]): Buffer {
  const table = new ByteWriter()
  let dataLength = 0
  for (const entry of rows) {
    if ('record' in entry) writeRecordRow(table, entry.record)
    else {
      const { block } = entry
      writeBlockRow(table, sha256Multihash(sha256(block)), block.length, checksumsOf(block))
      dataLength += block.length
    }
  }
  const tableBytes = table.finish()
  return Buffer.concat([encodeBatchHeader(rows.length, tableBytes, dataLength), tableBytes])
}

test('a batch decodes to what was put in', () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 20 }), fc.nat(2 ** 40), (rows, offset) => {
      const encoded = encode(rows)
      const batch = decodeBatch(encoded, 5, offset)!
      const blocks = rows.flatMap(entry => ('block' in entry ? [entry.block] : []))
      assert.deepEqual(
        batch.records.map(String),
        rows.flatMap(entry => ('record' in entry ? [String(entry.record)] : [])),
      )
      let at = offset + encoded.length
      for (const [i, block] of blocks.entries()) {
        const { multihash, location } = batch.blocks[i]!
        assert.ok(sha256Multihash(sha256(block)).equals(multihash))
        assert.deepEqual(location, { pack: 5, offset: at, length: block.length, checksums: checksumsOf(block) })
        at += block.length
      }
      assert.equal(batch.blocks.length, blocks.length)
      assert.equal(batch.end, at)
    }),
    { seed },
  )
})

test('a batch with any byte changed, missing or added is no batch', () => {
  fc.assert(
    fc.property(
      fc.array(row, { minLength: 1, maxLength: 6 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (rows, where, change) => {
        const encoded = encode(rows)
        const changed = Buffer.from(encoded)
        changed[where % changed.length]! ^= change
        assert.equal(decodeBatch(changed, 1, 32), undefined)
        assert.equal(decodeBatch(encoded.subarray(0, where % encoded.length), 1, 32), undefined)
        assert.equal(decodeBatch(Buffer.concat([encoded, Buffer.of(change)]), 1, 32), undefined)
      },
    ),
    { seed },
  )
})

test('hostile tables under a good checksum are refused or in bounds, and never throw', () => {
  const hostile = fc.tuple(fc.uint8Array({ maxLength: 200 }), fc.nat(40), fc.nat(1000))
  fc.assert(
    fc.property(hostile, ([array, rows, dataLength]) => {
      const table = Buffer.from(array)
      const batch = decodeBatch(Buffer.concat([encodeBatchHeader(rows, table, dataLength), table]), 1, 32)
      if (batch === undefined) return
      for (const { location } of batch.blocks) assert.ok(location.offset + location.length <= batch.end)
    }),
    { seed, numRuns: 2000 },
  )
})

test('changed tables whose checksum was made good again are refused or in bounds', () => {
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 6 }), fc.nat(), fc.nat(255), (rows, where, byte) => {
      const encoded = encode(rows)
      const table = Buffer.from(encoded.subarray(BATCH_HEADER_BYTES))
      if (table.length > 0) table[where % table.length] = byte
      const dataLength = encoded.readUInt32LE(12)
      const batch = decodeBatch(Buffer.concat([encodeBatchHeader(rows.length, table, dataLength), table]), 1, 32)
      if (batch === undefined) return
      for (const { location } of batch.blocks) assert.ok(location.offset + location.length <= batch.end)
    }),
    { seed, numRuns: 2000 },
  )
})

test('a batch may claim no more than the limit', () => {
  assert.equal(decodeBatch(encodeBatchHeader(0, Buffer.alloc(0), 16 * 1024 * 1024), 1, 32), undefined)
})

test('pack headers', () => {
  const header = { version: 1, epoch: 12345, number: 2 ** 40 }
  const encoded = encodePackHeader(header)
  assert.equal(encoded.length, 32)
  assert.deepEqual(decodePackHeader(encoded), header)
  for (let at = 0; at < encoded.length; at++) {
    const changed = Buffer.from(encoded)
    changed[at]! ^= 0x40
    assert.equal(decodePackHeader(changed), undefined)
    assert.equal(decodePackHeader(encoded.subarray(0, at)), undefined)
  }
})
