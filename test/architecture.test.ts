import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { importViolations, referencesOf, withoutComments } from './helpers/layers.ts'

/** The checkout: the nearest folder above the compiled test that holds the sources. */
const root = findRoot(fileURLToPath(import.meta.url))

/** Folders with files of the project; others hold what is installed, built, or somebody's own experiments. */
const folders = ['src', 'test', 'scripts', 'bench', 'docs', 'nixos-module', '.ci']
const files = listFiles()
const sources = files.filter(file => /^src\/.*\.ts$/.test(file))

describe('import rule', () => {
  test('every file of src/ obeys it', () => {
    assert.ok(sources.length > 20)
    assert.deepEqual(
      sources.flatMap(file => importViolations(file.slice('src/'.length), read(file))),
      [],
    )
  })

  const refused: [file: string, source: string, why: RegExp][] = [
    ['nix/nar.ts', `import { x } from '../unixfs/types.ts'`, /layer 1 knows nothing of layer 2/],
    ['bytes.ts', `export type { X } from './nix/tree.ts'`, /layer 0 knows nothing of layer 1/],
    ['blocks/packs.ts', `import type { X } from '../index/lmdb.ts'`, /never import each other/],
    ['index/lmdb.ts', `const x = await import('../blocks/packs.ts')`, /never import each other/],
    ['index/lmdb.ts', `import { x } from '../unixfs/node.ts'`, /layer 3 knows nothing of layer 4/],
    ['blocks/types.ts', `import type { X } from './packs.ts'`, /layer 2 knows nothing of layer 3/],
    ['unixfs/builder.ts', `import { Packs } from '../blocks/packs.ts'`, /by its types\.ts only/],
    ['store/ingest.ts', `import { LmdbIndex } from '../index/lmdb.ts'`, /by its types\.ts only/],
    ['fs/store-fs.ts', `type X = import('../blocks/packs.ts').PackReader`, /by its types\.ts only/],
    ['store/reader.ts', `import '../fs/types.ts'`, /layer 5 knows nothing of layer 6/],
    ['fs/store-fs.ts', `import { x } from '../cache/nar.ts'`, /never import each other/],
    ['cache/nar.ts', `export * from '../fs/types.ts'`, /never import each other/],
    ['fs/kernel/session.ts', `import { x } from '../libfuse/driver.ts'`, /never import each other/],
    ['fs/store-fs.ts', `import { x } from './kernel/session.ts'`, /knows no driver/],
    ['fs/kernel/session.ts', `new Worker(new URL('../../cli/worker.js', import.meta.url))`, /nothing of layer 7/],
    ['cache/server.ts', `import {\n  a,\n  type B,\n} from '../cli/config.ts'`, /nothing of layer 7/],
    ['api.ts', `export { main } from './cli/main.ts'`, /does not need the command line/],
    ['nix/hash.ts', `import { readFileSync } from 'node:fs'`, /pure/],
    ['nix/hash.ts', `import { open } from 'node:fs/promises'`, /pure/],
    ['store/reader.ts', `import { x } from './trust.js'`, /end in \.ts/],
    ['store/reader.ts', `import { x } from './trust'`, /end in \.ts/],
    ['store/reader.ts', `import { x } from '../../test/helpers/run.ts'`, /outside src/],
    ['store/reader.ts', `await import(name)`, /computed/],
    ['helper.ts', '', /belongs to no layer/],
  ]
  for (const [file, source, why] of refused) {
    test(`${file} must not contain: ${source.replaceAll('\n', ' ') || 'anything'}`, () => {
      assert.match(importViolations(file, source).join('\n'), why)
    })
  }

  const allowed: [file: string, source: string][] = [
    ['cid.ts', `import { x } from './bytes.ts'`],
    ['nix/nar.ts', `import { x } from '../bytes.ts'\nimport { createHash } from 'node:crypto'`],
    ['nix/local-store.ts', `import { spawn } from 'node:child_process'`],
    ['index/types.ts', `import type { X } from '../unixfs/types.ts'\nimport type { Y } from '../blocks/types.ts'`],
    ['blocks/packs.ts', `import type { X } from '../index/types.ts'`],
    ['store/ingest.ts', `import { x } from '../unixfs/builder.ts'\nimport type { Y } from '../index/types.ts'`],
    ['fs/libfuse/driver.ts', `import { x } from '../types.ts'\nimport fuse from 'fuse-native'`],
    ['cli/compose.ts', `import { x } from '../index/lmdb.ts'\nawait import('../fs/libfuse/driver.ts')`],
    ['cli/version.ts', `readFileSync(new URL('../../../package.json', import.meta.url))`],
    ['blocks/kubo.ts', `await client.dag.import(blocks, options)`],
    ['unixfs/node.ts', `// import { x } from '../store/reader.ts'\n/* import '../cli/main.ts' */`],
  ]
  for (const [file, source] of allowed) {
    test(`${file} may contain: ${source.replaceAll('\n', '; ')}`, () => {
      assert.deepEqual(importViolations(file, source), [])
    })
  }

  test('a URL in a string is not taken for a comment', () => {
    const source = `const a = 'http://x'; import b from './b.ts'; const c = "a//b"; import('./d.ts')`
    assert.deepEqual(
      referencesOf(source).map(reference => reference.specifier),
      ['./b.ts', './d.ts'],
    )
  })
})

test('no file is called index.ts: index/ is a layer, and there are no barrels', () => {
  assert.deepEqual(
    files.filter(file => /(^|\/)index\.[mc]?[jt]s$/.test(file)),
    [],
  )
})

test('relative imports of the tests end in .ts', () => {
  const tests = files.filter(file => /^(test|bench)\/.*\.ts$/.test(file) && file !== 'test/architecture.test.ts')
  const wrong = tests.flatMap(file =>
    referencesOf(read(file)).filter(({ specifier, kind }) => kind === 'import' && /^\..*(?<!\.ts)$/.test(specifier)),
  )
  assert.deepEqual(wrong, [])
})

test('only src/cli reads the arguments and the environment', () => {
  const readers = sources.filter(file => {
    const code = withoutComments(read(file))
    return /\bprocess\s*(\?\.|\.)\s*(argv|env)\b/.test(code) || /['"](node:)?process['"]/.test(code)
  })
  assert.deepEqual(
    readers.filter(file => !file.startsWith('src/cli/')),
    [],
  )
})

test('no file names the folders of the machine that it was written on', () => {
  const own = [root, homedir()].filter(folder => folder.length > 1)
  const guilty = files.filter(file => {
    const text = read(file)
    return own.some(folder => text.includes(`${folder}/`))
  })
  assert.deepEqual(guilty, [])
})

test('the tests look for the Kubo release that go.mod pins', () => {
  const pinned = /github\.com\/ipfs\/kubo v([0-9.]+)/.exec(read('test/kubo/go.mod'))?.[1]
  const wanted = /KUBO_VERSION = '([0-9.]+)'/.exec(read('test/helpers/kubo.ts'))?.[1]
  assert.ok(pinned)
  assert.equal(wanted, pinned)
})

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

function findRoot(file: string): string {
  let folder = dirname(file)
  while (!readdirSync(folder).includes('package-lock.json')) {
    if (folder === dirname(folder)) throw new Error(`${file} does not lie in a checkout`)
    folder = dirname(folder)
  }
  return folder
}

function listFiles(): string[] {
  return readdirSync(root, { withFileTypes: true }).flatMap(entry => {
    if (entry.isFile()) return [entry.name]
    return entry.isDirectory() && folders.includes(entry.name) ? listBelow(join(root, entry.name)) : []
  })
}

function listBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return listBelow(path)
    return entry.isFile() ? [relative(root, path)] : []
  })
}
