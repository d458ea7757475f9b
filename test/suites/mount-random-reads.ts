import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mountStore } from '../helpers/mount.ts'
import { sizes } from '../helpers/mount-fixture.ts'
import { run } from '../helpers/run.ts'
import { inMount, type Shared } from './mount.ts'

/** Processes at the same file at once. */
const PROCESSES = 3

export function randomReadTests(shared: Shared): void {
  test('random reads by every call that reads, by several processes, are as in a copy', async t => {
    const { driver, fixture, real, state } = shared()
    const mounted = inMount(await mountStore(t, { state, args: driver.args }), fixture.tree)
    const names = [...sizes.map(size => `sizes/${size}`), 'bin/large', 'empty-file']
    for (const [i, name] of names.entries()) {
      const processes = Array.from({ length: PROCESSES }, (_, process) => {
        const seed = `${100 * i + process}`
        return run(fixture.probe, ['compare', `${mounted}/${name}`, `${real}/${name}`, seed, '150'])
      })
      for (const { code, signal, stdout, stderr } of await Promise.all(processes))
        assert.deepEqual(
          { code, signal, stdout: `${stdout}`, stderr },
          { code: 0, signal: null, stdout: '', stderr: '' },
        )
    }
  })
}
