import { basename } from 'node:path'
import { after, before, describe } from 'node:test'
import { onCleanup, type TestScope } from '../helpers/cleanup.ts'
import { type Mount, mountStore } from '../helpers/mount.ts'
import { addToState, type MountFixture, mountFixture, tempInMemory } from '../helpers/mount-fixture.ts'
import { tempFolder } from '../helpers/temp.ts'
import { attributeTests } from './mount-attributes.ts'
import { changeTests } from './mount-changes.ts'
import { damageTests } from './mount-damage.ts'
import { layerTests } from './mount-layers.ts'
import { listingTests } from './mount-listings.ts'
import { nameTests } from './mount-names.ts'
import { randomReadTests } from './mount-random-reads.ts'
import { readTests } from './mount-reads.ts'
import { writeTests } from './mount-writes.ts'
import { xattrTests } from './mount-xattr.ts'

/** A driver under test. */
export interface MountDriver {
  name: string
  /** Arguments of the command that choose it. */
  args: readonly string[]
  /** What it can do; what it cannot is tested to fail as it says. */
  capabilities: {
    /** Opens names, and reads link targets, that are not UTF-8. */
    nonUtf8Names: boolean
    /** SIGHUP and a killed server make another take over; otherwise they end the mount, or leave it dead. */
    handsOver: boolean
    /** Who waits for bytes that do not come can be ended; otherwise one who reads past the page cache waits on. */
    interrupts: boolean
    /** Shows CIDs as extended attributes. */
    xattr: boolean
  }
}

/** A block store that a mount may show. */
export interface MountBlocks {
  name: string
  /** Starts what keeps the blocks, for as long as the scope lasts; arguments that put those of a new state there. */
  start(scope: TestScope): Promise<readonly string[]>
  /** What this one alone must do: everything else is the same for all. */
  tests(shared: Shared): void
}

/** One mount with the whole fixture in it, shared by the tests of a suite. */
export interface SharedMount {
  readonly driver: MountDriver
  readonly fixture: MountFixture
  readonly state: string
  readonly mount: Mount
  /** The fixture's tree in the real Nix store. */
  readonly real: string
  /** The same in the mount. */
  readonly mounted: string
}

/** The shared mount; tests call it when they run, since it is made after they are declared. */
export type Shared = () => SharedMount

/** What `--blocks` is if it is not given. */
const localBlocks: MountBlocks = { name: 'local packs', start: async () => [], tests: damageTests }

/**
 * What every driver must do with every block store: the mount shows a real Nix store's paths to the byte and the bit,
 * and nothing else. All access to the mount is from child processes with a time limit, so that a mount that hangs
 * fails a test.
 */
export function mountSuite(driver: MountDriver, blocks = localBlocks): void {
  describe(`mount by ${driver.name}, blocks in ${blocks.name}`, () => {
    const scope = suiteScope()
    let shared: SharedMount | undefined
    before(async () => {
      shared = await share(scope, driver, blocks)
    })
    const get = () => {
      if (shared === undefined) throw new Error('there is no mount, see the failure above')
      return shared
    }
    // First, because it measures what the fixture alone takes.
    describe('the block store', () => blocks.tests(get))
    describe('attributes', () => attributeTests(get))
    describe('extended attributes', () => xattrTests(get))
    describe('reading', () => readTests(get))
    describe('reading at random', () => randomReadTests(get))
    describe('writing', () => writeTests(get))
    describe('names', () => nameTests(get))
    describe('listing', () => listingTests(get))
    describe('layers above', () => layerTests(get))
    describe('changes by other processes', () => changeTests(get))
  })
}

/** A scope for what lives as long as the suite that is being declared. */
export function suiteScope(): TestScope {
  const scope = { after }
  // The hook belongs to the suite that is declared when it is first asked for.
  onCleanup(scope, () => {})
  return scope
}

/** Where a store path is in a mount. */
export function inMount(mount: Mount, storePath: string): string {
  return `${mount.folder}/${basename(storePath)}`
}

async function share(scope: TestScope, driver: MountDriver, blocks: MountBlocks): Promise<SharedMount> {
  await tempInMemory(scope)
  const where = await blocks.start(scope)
  const fixture = await mountFixture(scope)
  const state = tempFolder(scope, 'state')
  const { tree, undecodable, file, program, link } = fixture
  await addToState(fixture, state, [tree, undecodable, file, program, link], where)
  const mount = await mountStore(scope, { state, args: driver.args })
  return { driver, fixture, state, mount, real: fixture.nix.physical(tree), mounted: inMount(mount, tree) }
}
