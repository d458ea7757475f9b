import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { counter } from '../../../src/fs/counters.ts'
import { nodeAt, Serving, storeWith } from '../../helpers/served-store.ts'
import { makeRequest, withBody } from '../../helpers/synthetic-kernel.ts'
import { goodRequests } from './requests.ts'
import { trees } from './trees.ts'

// Requests that no kernel sends. Whatever comes: nothing is thrown, who waits for a reply gets one that the kernel
// takes, and it holds no more than was asked for. Serving.answer checks all of this.

const SEED = 20260101
const RUNS = 3000

const store = await storeWith({ after }, trees)
const nodes = {
  tree: nodeAt(store, 'tree').id,
  file: nodeAt(store, 'tree', 'large').id,
  link: nodeAt(store, 'tree', 'link').id,
}
const good = Object.values(goodRequests(nodes))

for (const xattr of [true, false]) {
  const serving = new Serving(store, { xattr })
  const which = `xattr ${xattr ? 'on' : 'off'}`

  test(`good requests with flipped bits, ${which}`, () => {
    // Bits of the first 64 bytes at most, as further ones are seldom looked at.
    const flips = fc.array(fc.nat(64 * 8 - 1), { minLength: 1, maxLength: 8 })
    fc.assert(
      fc.property(fc.constantFrom(...good), flips, fc.boolean(), (request, bits, keepLength) => {
        const bytes = Buffer.from(request)
        for (const bit of bits) if (bit < bytes.length * 8) bytes[bit >> 3]! ^= 1 << (bit & 7)
        if (keepLength) bytes.writeUInt32LE(bytes.length, 0)
        serving.answer(bytes)
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })

  test(`any opcode, node and body, ${which}`, () => {
    const opcode = fc.oneof({ weight: 5, arbitrary: fc.nat(64) }, { weight: 1, arbitrary: fc.nat() })
    const node = fc.oneof(
      fc.constantFrom<number | bigint>(1, 2, nodes.tree, nodes.file, nodes.link),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    )
    const unique = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
    const body = fc.uint8Array({ maxLength: 400 })
    fc.assert(
      fc.property(opcode, node, body, unique, (opcode, node, body, unique) => {
        serving.answer(makeRequest(opcode, node, body, unique))
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })

  test(`good requests with bodies of another length, ${which}`, () => {
    fc.assert(
      fc.property(fc.constantFrom(...good), fc.nat(120), fc.uint8Array({ maxLength: 60 }), (request, length, more) => {
        serving.answer(withBody(request, Buffer.concat([request.subarray(40, 40 + length), more])))
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })

  test(`bytes that are no request, ${which}`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
        serving.answer(Buffer.from(bytes))
      }),
      { seed: SEED, numRuns: RUNS },
    )
  })

  test(`some were understood and some were not, and none failed, ${which}`, () => {
    assert.ok(serving.count(counter.bytesRead) > 0)
    assert.ok(serving.count(counter.malformed) > RUNS)
    assert.deepEqual(serving.failures, [])
  })
}
