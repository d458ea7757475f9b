import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { sha256 } from '../../src/cid.ts'
import { type KuboDaemon, kuboDaemon } from '../helpers/kubo-daemon.ts'
import { sizes } from '../helpers/mount-fixture.ts'
import { output } from '../helpers/run.ts'
import { type MissingFiles, missingFiles } from './missing-files.ts'
import { type MountBlocks, type Shared, suiteScope } from './mount.ts'
import { outageTests } from './mount-kubo-outages.ts'
import { missTests } from './mount-misses.ts'
import { signalTests } from './mount-signals.ts'

const MIB = 1024 * 1024

/** Blocks in a real Kubo, which is the only holder of the bytes. */
export function kuboBlocks(): MountBlocks {
  let kubo: KuboDaemon | undefined
  let sizeBefore = 0
  return {
    name: 'Kubo',
    start: async scope => {
      kubo = await kuboDaemon(scope)
      sizeBefore = repoSize(kubo)
      return ['--blocks', `kubo:${kubo.rpc}`]
    },
    tests: shared => {
      test('the bytes are in Kubo once, and nowhere else', () => assertOneCopy(shared, kubo!, sizeBefore))
      outageTests(shared, () => kubo!)
      describe('reads of what is missing', () => {
        const scope = suiteScope()
        let missing: MissingFiles | undefined
        before(async () => {
          missing = await missingFiles(scope, shared().driver, kubo!.rpc)
        })
        missTests(shared, () => missing!)
        signalTests(shared, () => missing!)
      })
    },
  }
}

/** Any 64 bytes of a content lie in a single block of Kubo's and nowhere in the state; blocks and index are small. */
async function assertOneCopy(shared: Shared, kubo: KuboDaemon, sizeBefore: number): Promise<void> {
  const { state, real } = shared()
  const distinct = new Map(filesBelow(real).map(bytes => [sha256(bytes).toString('hex'), bytes]))
  const contents = [...distinct.values()]
  const [blocks, ours] = [filesBelow(join(kubo.repo, 'blocks')), filesBelow(state)]
  assert.deepEqual(readdirSync(join(state, 'packs')), [])
  const large = contents.filter(({ length }) => length >= 4096)
  assert.ok(large.length >= sizes.length)
  for (const bytes of large) {
    for (let at = 0; at + 64 <= bytes.length; at += MIB) {
      const sample = bytes.subarray(at, at + 64)
      const what = `64 bytes at ${at} of ${bytes.length}`
      assert.equal(blocks.filter(block => block.includes(sample)).length, 1, `blocks with ${what}`)
      assert.equal(ours.filter(file => file.includes(sample)).length, 0, `files of the state with ${what}`)
    }
  }
  const entries = `${await output('find', [real, '-printf', 'x'])}`.length
  const taken = repoSize(kubo) - sizeBefore + bytesOf(ours)
  const allowed = 1.05 * bytesOf(contents) + 700 * entries
  assert.ok(taken > bytesOf(contents) && taken < allowed, `${taken} bytes are taken, ${allowed} allowed`)
}

/** The contents of all regular files below a folder. */
function filesBelow(folder: string): Buffer[] {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true })
  return found.filter(entry => entry.isFile()).map(({ parentPath, name }) => readFileSync(join(parentPath, name)))
}

const bytesOf = (buffers: readonly Buffer[]) => buffers.reduce((sum, { length }) => sum + length, 0)

/** What Kubo says of its repository. */
function repoSize({ ipfs }: KuboDaemon): number {
  return JSON.parse(`${ipfs(['repo', 'stat', '--enc=json'])}`).RepoSize
}
