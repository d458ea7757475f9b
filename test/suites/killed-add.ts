import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { before, test } from 'node:test'
import type { Added } from '../../src/store/ingest.ts'
import { openStateFolder } from '../../src/store/state.ts'
import { known, newState } from '../cli/support.ts'
import type { TestScope } from '../helpers/cleanup.ts'
import { type CrashPoint, type CrashPoints, choosePoints, crashPoints } from '../helpers/crash-point.ts'
import { noise } from '../helpers/mount-fixture.ts'
import { output } from '../helpers/run.ts'
import { addFolderTo, verifyState } from '../helpers/store.ts'
import { tempFolder } from '../helpers/temp.ts'

/** Where the blocks of a killed add went. */
export interface KilledAddStore {
  /** What `--blocks` names. */
  blocks(): string
  /** How many small files the tree has. */
  files: number
  /** Looks at what the block store itself says once the path is there. */
  check?(path: Added): void
  /** Empties it, so that the next add finds nothing of the last one. */
  clear?(): void
}

const KILLS = 30
const SEED = 20261123
const MIB = 1024 * 1024

/** What every block store must do: an add that is killed leaves all of its path or nothing, and the next one does it. */
export function killedAddTests(scope: TestScope, store: KilledAddStore): void {
  const tree = join(tempFolder(scope), 'killed')
  let crash: CrashPoints
  let narHash: string
  let points: CrashPoint[]
  const add = (state: string) => ['add', tree, '--state', state, '--blocks', store.blocks()]

  before(async () => {
    mkdirSync(join(tree, 'many'), { recursive: true })
    for (let i = 0; i < store.files; i++)
      writeFileSync(join(tree, 'many', `file-${i}`), `contents of file ${i}\n`.repeat(i % 90))
    writeFileSync(join(tree, 'large'), noise(1, 3 * MIB))
    writeFileSync(join(tree, 'program'), noise(2, MIB + 1), { mode: 0o755 })
    narHash = createHash('sha256')
      .update(await output('nix-store', ['--dump', tree]))
      .digest('hex')
    crash = await crashPoints(tempFolder(scope))
    points = choosePoints(await crash.trace(add(newState(scope))), KILLS, SEED)
    store.clear?.()
  })

  for (let kill = 0; kill < KILLS; kill++) {
    test(`kill -9 of an add, point ${kill + 1} of ${KILLS}`, async t => {
      const state = newState(t)
      const killed = await crash.run(add(state), points[kill]!)
      // It may have died before there was one.
      openStateFolder(state, store.blocks())
      const names = await known(state)
      if (!killed) assert.equal(names.length, 1, 'what ended well is there')
      for (const { ok, bad } of await verifyState(state)) assert.ok(ok, JSON.stringify(bad))

      const again = await addFolderTo(state, tree)
      assert.equal(again.isNew, names.length === 0)
      if (names.length > 0) assert.deepEqual(names, [again.baseName])
      assert.deepEqual(
        (await verifyState(state)).map(({ path, ok, bad }) => [basename(path), ok, bad]),
        [[again.baseName, true, []]],
      )
      // Which verify has found its NAR to have.
      assert.equal(Buffer.from(again.narHash).toString('hex'), narHash)
      store.check?.(again)
      store.clear?.()
    })
  }
}
