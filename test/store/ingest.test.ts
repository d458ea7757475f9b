import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openStore, type Store } from '../../src/cli/compose.ts'
import { readConfig } from '../../src/cli/config.ts'
import { ChangedError, IntegrityError, RefusedError } from '../../src/errors.ts'
import type { ValidPath } from '../../src/nix/local-store.ts'
import { contentAddress } from '../../src/store/trust.ts'
import { onCleanup, type TestScope } from '../helpers/cleanup.ts'
import { tempFolder } from '../helpers/temp.ts'

// The way in, where the command line does not lead: paths that only a Nix database could name.

interface Fixture {
  store: Store
  /** A fresh file with these contents. */
  file(name: string, contents: string): string
}

function fixture(t: TestScope): Fixture {
  const work = tempFolder(t)
  const store = openStore(readConfig({ state: join(work, 'state') }, {}))
  onCleanup(t, () => store.close())
  mkdirSync(join(work, 'files'))
  return {
    store,
    file: (name, contents) => {
      const path = join(work, 'files', name)
      writeFileSync(path, contents)
      return path
    },
  }
}

function withIngest<T>({ store }: Fixture, use: (ingest: ReturnType<Store['ingest']>) => Promise<T>): Promise<T> {
  const ingest = store.ingest({ pin: true })
  return use(ingest).finally(() => ingest.close())
}

/** The path and its hash, as if the Nix database had it under another name. */
async function valid(f: Fixture, file: string, baseName: string): Promise<ValidPath> {
  const probe = await withIngest(f, async ingest => {
    await ingest.addFolder(file, 'probe')
    return (await ingest.commit())[0]!
  })
  f.store.index.forget(probe.baseName)
  const narHash = Buffer.from(probe.narHash)
  const none = { references: [], deriver: undefined, ca: undefined, signatures: [], registrationTime: 1 }
  return { baseName, narHash, narSize: probe.narSize, ...none }
}

const names = ({ store }: Fixture) => [...store.index.paths()].map(({ baseName }) => baseName)

test('nothing is visible before the commit, and all of it afterwards', async t => {
  const f = fixture(t)
  await withIngest(f, async ingest => {
    await ingest.addFolder(f.file('one', '1'), 'one')
    await ingest.addFolder(f.file('two', '2'), 'two')
    f.store.index.refresh()
    assert.deepEqual(names(f), [])
    const added = await ingest.commit()
    f.store.index.refresh()
    assert.deepEqual(names(f), added.map(({ baseName }) => baseName).sort())
    assert.deepEqual(
      added.map(({ baseName }) => baseName.slice(33)),
      ['one', 'two'],
    )
    assert.deepEqual(await ingest.commit(), [])
  })
})

test('what is closed without a commit is not added', async t => {
  const f = fixture(t)
  await withIngest(f, ingest => ingest.addFolder(f.file('lost', 'lost'), 'lost'))
  f.store.index.refresh()
  assert.deepEqual(names(f), [])
})

test('a path that fails takes nothing with it', async t => {
  const f = fixture(t)
  await withIngest(f, async ingest => {
    await ingest.addFolder(f.file('before', 'before'), 'before')
    await assert.rejects(ingest.addFolder('/dev/null', 'device'), RefusedError)
    await ingest.addFolder(f.file('after', 'after'), 'after')
    const added = await ingest.commit()
    assert.equal(added.length, 2)
    f.store.index.refresh()
    assert.equal(names(f).length, 2)
    for (const record of f.store.index.paths()) {
      const node = f.store.reader.node(record.firstNode)
      assert.ok(node.kind === 'file')
      let contents = ''
      for await (const bytes of f.store.reader.contents(node)) contents += bytes
      assert.equal(contents, record.baseName.slice(33))
    }
  })
})

test('the same path twice in one commit is one path, and new once', async t => {
  const f = fixture(t)
  await withIngest(f, async ingest => {
    await ingest.addFolder(f.file('same', 'same'), 'same')
    await ingest.addFolder(f.file('same', 'same'), 'same')
    assert.deepEqual(
      (await ingest.commit()).map(({ isNew }) => isNew),
      [true, false],
    )
  })
  f.store.index.refresh()
  assert.equal(names(f).length, 1)
})

test('the first accepted record wins: another narHash or another name for its hash part is refused', async t => {
  const f = fixture(t)
  const hashPart = '0123456789abcdfghijklmnpqrsvwxyz'
  const first = f.file('first', 'first')
  const second = f.file('second', 'second')
  const known = await valid(f, first, `${hashPart}-name`)
  const otherHash = await valid(f, second, `${hashPart}-name`)
  const otherName = await valid(f, first, `${hashPart}-other`)
  const refused = async (commitFirst: boolean, path: ValidPath, file: string) => {
    await withIngest(f, async ingest => {
      await ingest.addValidPath(known, first)
      if (commitFirst) await ingest.commit()
      const clash = async () => {
        await ingest.addValidPath(path, file)
        await ingest.commit()
      }
      await assert.rejects(clash, error => error instanceof RefusedError && error.message.includes(path.baseName))
      await ingest.commit()
    })
    f.store.index.refresh()
    assert.ok(names(f).every(name => name === known.baseName))
    f.store.index.forget(known.baseName)
    f.store.index.refresh()
  }
  for (const commitFirst of [false, true]) {
    await refused(commitFirst, otherHash, second)
    await refused(commitFirst, otherName, first)
  }
  await withIngest(f, async ingest => {
    await ingest.addValidPath(otherName, first)
    assert.equal((await ingest.commit())[0]?.isNew, true)
  })
})

test('bytes that are not those of the Nix database are refused', async t => {
  const f = fixture(t)
  const file = f.file('file', 'as it should be')
  const path = await valid(f, file, `${'0'.repeat(32)}-name`)
  writeFileSync(file, 'as it should NOT be')
  await withIngest(f, async ingest => {
    await assert.rejects(ingest.addValidPath(path, file), IntegrityError)
    assert.deepEqual(await ingest.commit(), [])
  })
  await withIngest(f, ingest => assert.rejects(ingest.addValidPath(path, `${file}-gone`), RefusedError))
  f.store.index.refresh()
  assert.deepEqual(names(f), [])
})

test('another process that was faster with the same path is no failure', async t => {
  const f = fixture(t)
  const file = f.file('raced', 'raced')
  const baseName = await withIngest(f, async slow => {
    await slow.addFolder(file, 'raced')
    await withIngest(f, async fast => {
      await fast.addFolder(file, 'raced')
      assert.equal((await fast.commit())[0]?.isNew, true)
    })
    const [added] = await slow.commit()
    assert.equal(added?.isNew, false)
    return added!.baseName
  })
  f.store.index.refresh()
  assert.deepEqual(names(f), [baseName])
  assert.match(baseName, new RegExp(`^${contentAddress('raced', f.store.index.path(baseName)!.narHash)}$`))
})

test('a folder that changes is refused, and the next try succeeds', async t => {
  const f = fixture(t)
  const folder = join(tempFolder(t), 'changing')
  mkdirSync(folder)
  for (let i = 0; i < 600; i++) writeFileSync(join(folder, `${i}`), `${i}`)
  await withIngest(f, async ingest => {
    const adding = ingest.addFolder(folder, 'changing')
    // It gives way after 256 entries.
    setImmediate(() => writeFileSync(join(folder, 'late'), 'late'))
    await assert.rejects(adding, ChangedError)
    await ingest.addFolder(folder, 'changing')
    assert.equal((await ingest.commit())[0]?.isNew, true)
  })
})
