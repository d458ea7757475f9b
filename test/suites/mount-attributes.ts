import assert from 'node:assert/strict'
import { basename } from 'node:path'
import { test } from 'node:test'
import { mountStore } from '../helpers/mount.ts'
import { MANY_ENTRIES } from '../helpers/mount-fixture.ts'
import { output } from '../helpers/run.ts'
import { inMount, type Shared } from './mount.ts'

/** The fields of one file that find prints, as it prints them. */
interface Attributes {
  type: string
  mode: string
  size: string
  modified: string
  accessed: string
  changed: string
  user: string
  group: string
  links: string
  /** Of 512 bytes. */
  blocks: string
  inode: string
  target: string
}

const fields = ['type', 'mode', 'size', 'modified', 'accessed', 'changed', 'user', 'group', 'links'] as const
const format = '%P\\0%y/%m/%s/%T@/%A@/%C@/%U/%G/%n/%b/%i/%l\\0'

export function attributeTests(shared: Shared): void {
  test('stat of every entry is the real store’s', async () => {
    const { real, mounted } = shared()
    const expected = await attributesBelow(real)
    const found = await attributesBelow(mounted)
    assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort())
    assert.ok(found.size > MANY_ENTRIES)
    for (const [path, theirs] of expected) {
      assert.equal(theirs.modified, '1.0000000000')
      const size = theirs.type === 'd' ? '0' : theirs.size
      const blocks = `${Math.ceil(Number(size) / 512)}`
      const time = { modified: theirs.modified, accessed: theirs.modified, changed: theirs.modified }
      const ours = found.get(path)!
      const wanted = { ...theirs, ...time, size, blocks, user: '0', group: '0', links: '1', inode: ours.inode }
      assert.equal(attributesText(ours), attributesText(wanted), JSON.stringify(path))
    }
  })

  test('store paths that are files, programs and links have their attributes', async () => {
    const { fixture, mount } = shared()
    for (const path of [fixture.file, fixture.program, fixture.link]) {
      const [theirs] = [...(await attributesBelow(fixture.nix.physical(path))).values()]
      const [ours] = [...(await attributesBelow(inMount(mount, path))).values()]
      for (const field of ['type', 'mode', 'size', 'modified', 'user', 'group', 'links', 'target'] as const) {
        assert.equal(ours![field], theirs![field], `${field} of ${path}`)
      }
    }
  })

  test('the mount’s root is a folder like those of the store', async () => {
    const said = await output('stat', ['-c', '%F %a %s %h %u %g %Y', shared().mount.folder])
    assert.equal(`${said}`, 'directory 555 0 1 0 0 1\n')
  })

  test('inode numbers are all different', async () => {
    const { mount, fixture } = shared()
    const seen = new Map<string, string>()
    const { tree, file, program, link } = fixture
    const paths = [mount.folder, `${mount.folder}/.links`, ...[tree, file, program, link].map(p => inMount(mount, p))]
    for (const top of paths) {
      const options = top === mount.folder ? ['-maxdepth', '0'] : []
      for (const [path, { inode }] of await attributesBelow(top, options)) {
        assert.equal(seen.get(inode), undefined, `${top}/${path} has the inode number ${inode} of another`)
        seen.set(inode, `${top}/${path}`)
      }
    }
    assert.ok(seen.size > MANY_ENTRIES)
    assert.ok(!seen.has('0'), 'the kernel takes inode number 0 for none')
  })

  test('inode numbers are the same in stat, in a listing, later, and after another mount', async t => {
    const { driver, state, fixture, mounted } = shared()
    const first = await attributesBelow(mounted)
    const listed = `${await output(fixture.probe, ['entries', `${mounted}/many`])}`.trim().split('\n')
    for (const line of listed) {
      const [inode, type, hex] = line.split(' ')
      const name = Buffer.from(hex!, 'hex').toString('latin1')
      if (name === '..') continue
      const path = name === '.' ? 'many' : `many/${name}`
      assert.equal(inode, first.get(path)?.inode, path)
      assert.equal(type, first.get(path)?.type, path)
    }
    const another = await mountStore(t, { state, args: driver.args })
    for (const again of [mounted, inMount(another, fixture.tree)]) {
      const later = await attributesBelow(again)
      assert.equal(later.size, first.size)
      for (const [path, { inode }] of later) assert.equal(inode, first.get(path)?.inode, `${again}/${path}`)
    }
  })

  test('the file system has the size of the one that holds the state', async () => {
    const { state, mount } = shared()
    const sizeOf = async (folder: string) => {
      const [blocks, blockSize, nameLimit] = `${await output('stat', ['-f', '-c', '%b %S %l', folder])}`.split(' ')
      return { bytes: Number(blocks) * Number(blockSize), nameLimit: nameLimit!.trim() }
    }
    assert.deepEqual(await sizeOf(mount.folder), await sizeOf(state))
  })

  test('it is mounted read-only, as fuse.nix-ipfs-mount', async () => {
    const { mount } = shared()
    const said = `${await output('findmnt', ['-n', '-o', 'SOURCE,FSTYPE,OPTIONS', mount.folder])}`
    assert.match(said, /^nix-ipfs-mount +fuse\.nix-ipfs-mount +ro,nosuid,nodev,.*default_permissions,allow_other/)
  })

  test('the root lists the store paths that are known and nothing else', async () => {
    const { fixture, mount } = shared()
    const { tree, undecodable, file, program, link } = fixture
    const names = `${await output('ls', ['-A', mount.folder])}`.trim().split('\n')
    assert.deepEqual(names.sort(), [tree, undecodable, file, program, link].map(path => basename(path)).sort())
  })
}

function attributesText(attributes: Attributes): string {
  return [...fields, 'blocks' as const, 'inode' as const, 'target' as const]
    .map(f => `${f} ${attributes[f]}`)
    .join(', ')
}

/** Everything at and below a path by its path from there, each byte a character. */
async function attributesBelow(top: string, options: readonly string[] = []): Promise<Map<string, Attributes>> {
  const said = (await output('find', [top, ...options, '-printf', format])).toString('latin1').split('\0')
  const found = new Map<string, Attributes>()
  for (let at = 0; at + 1 < said.length; at += 2) {
    const values = said[at + 1]!.split('/')
    const [blocks, inode, ...target] = values.slice(fields.length)
    const named = Object.fromEntries(fields.map((field, i) => [field, values[i]]))
    found.set(said[at]!, { ...named, blocks, inode, target: target.join('/') } as Attributes)
  }
  return found
}
