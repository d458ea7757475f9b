import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { cidText, rawCid, sha256 } from '../../src/cid.ts'
import { cargoProgram } from '../helpers/cargo-program.ts'
import type { TestScope } from '../helpers/cleanup.ts'
import { type KuboProxy, kuboProxy } from '../helpers/kubo-proxy.ts'
import { type Mount, mountStore } from '../helpers/mount.ts'
import { noise } from '../helpers/mount-fixture.ts'
import { cli } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { inMount, type MountDriver } from './mount.ts'

const MIB = 1024 * 1024

/** Bytes that the program carries in its read-only data. */
const CARGO_BYTES = 3 * MIB

/** A program, what looks like a library, and two files that are neither, one of more than a block. */
export const files = ['program', 'library', 'data', 'small'] as const
export type FileName = (typeof files)[number]

/** A state whose blocks are all in a Kubo behind a proxy, and so are missing to every mount of it. */
export interface MissingFiles {
  readonly proxy: KuboProxy
  readonly contents: Record<FileName, Buffer>
  readonly cargo: Buffer
  /** The CIDs of a file's blocks, in order. */
  blocks(name: FileName): string[]
  bytes(name: FileName): number
  /** Nothing is wrong any more with what the proxy passes on. */
  heal(): void
  /** A mount that has no block yet and waits long for one, and where the files are in it. */
  mount(t: TestContext): Promise<{ mount: Mount; path: Record<FileName, string> }>
}

export async function missingFiles(scope: TestScope, driver: MountDriver, rpc: string): Promise<MissingFiles> {
  const proxy = await kuboProxy(scope, rpc)
  const folder = join(tempFolder(scope, 'tree'), 'tree')
  mkdirSync(folder)
  const cargo = noise(81, CARGO_BYTES)
  const cargoFile = join(tempFolder(scope), 'cargo')
  writeFileSync(cargoFile, cargo)
  await cargoProgram(join(folder, 'program'), cargoFile)
  const elf = Buffer.from('\x7fELF', 'latin1')
  const contents = {
    program: readFileSync(join(folder, 'program')),
    library: Buffer.concat([elf, noise(82, 2 * MIB + 333)]),
    data: noise(83, 8 * MIB),
    small: noise(84, MIB),
  }
  for (const name of files.slice(1)) writeFileSync(join(folder, name), contents[name])
  const state = join(tempFolder(scope, 'state'), 'state')
  const { code, stdout, stderr } = await cli([
    'add',
    folder,
    '--no-pin',
    '--state',
    state,
    '--blocks',
    `kubo:${proxy.url}`,
  ])
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  const added = `${stdout}`.trim()
  const heal = () => {
    proxy.hold()()
    Object.assign(proxy, { instead: undefined, change: undefined, delay: 0 })
  }
  return {
    proxy,
    contents,
    cargo,
    heal,
    blocks: name => blockCids(contents[name]),
    bytes: name => contents[name].length,
    mount: async t => {
      heal()
      const mount = await mountStore(t, { state, args: [...driver.args, '--deadline', '600'] })
      proxy.blocks.clear()
      const below = inMount(mount, added)
      return {
        mount,
        path: Object.fromEntries(files.map(name => [name, `${below}/${name}`])) as Record<FileName, string>,
      }
    },
  }
}

function blockCids(bytes: Buffer): string[] {
  const count = Math.ceil(bytes.length / MIB)
  return Array.from({ length: count }, (_, i) => cidText(rawCid(sha256(bytes.subarray(i * MIB, (i + 1) * MIB)))))
}

export function byteSum(bytes: Buffer): number {
  return bytes.reduce((sum, byte) => sum + byte, 0)
}
