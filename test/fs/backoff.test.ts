import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Backoff } from '../../src/fs/kernel/backoff.ts'

test('pauses begin at none, double, stay at the longest, and begin anew after a success', () => {
  const backoff = new Backoff(100, 3)
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map(() => backoff.fail()),
    [0, 100, 200, 400, 800, 800],
  )
  assert.equal(backoff.failures, 6)
  assert.equal(backoff.succeed(), 0)
  assert.deepEqual([backoff.failures, backoff.fail(), backoff.fail()], [0, 0, 100])
})
