import assert from 'node:assert/strict'
import { test } from 'node:test'
import { murmur3 } from '../../src/unixfs/murmur3.ts'
import { hex } from './support.ts'

test('names hash to where Kubo places them', () => {
  assert.equal(hex(murmur3(Buffer.from('470.txt'))).slice(0, 4), '006e')
  assert.equal(hex(murmur3(Buffer.from('742.txt'))).slice(0, 4), '00ff')
})

test('every length of the tail, and whole blocks', () => {
  // First halves of the hashes of the bytes 200, 237, ... (37 more each time, modulo 256), by @multiformats/murmur3 2.
  const vectors: [length: number, hash: string][] = [
    [0, '0000000000000000'],
    [1, 'a46bd16248e551c3'],
    [2, 'e3304859fea69b98'],
    [3, '1992c2c31158994d'],
    [4, '41bff0560ab0f92c'],
    [5, '183680d3a1474632'],
    [6, '27a4dff7f4cce6a9'],
    [7, 'cf7b85bf8584968d'],
    [8, '8c77ad3171d401d8'],
    [9, 'efc048af822f9d54'],
    [10, 'ed12443dc33f2dc6'],
    [11, '1b496dd0a682698a'],
    [12, '1136832c61247ef8'],
    [13, 'e630146d9dc7d022'],
    [14, '208aae7e1f6f34e7'],
    [15, '1237ca845d4c1800'],
    [16, '015deb6369b72afb'],
    [17, '067f69ffe052646e'],
    [31, 'b01845ebc1e4df7c'],
    [32, '5fcf6f12a39e0ca6'],
    [33, 'ed93e0c56ea3a764'],
    [47, '766f7fa800b97aab'],
    [48, '8c91fc481fc56693'],
    [255, 'b2757f9bcbd86cb0'],
  ]
  for (const [length, expected] of vectors) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 37 + 200)
    assert.equal(hex(murmur3(bytes)), expected, `${length} bytes`)
  }
})

test('a view into a larger buffer hashes as its own bytes', () => {
  const name = Buffer.from('a name that is longer than one block of sixteen')
  const inside = Buffer.concat([Buffer.from('xyz'), name, Buffer.from('xyz')]).subarray(3, 3 + name.length)
  assert.deepEqual(murmur3(inside), murmur3(name))
})
