import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { type Mount, mountStore } from '../helpers/mount.ts'
import { noise } from '../helpers/mount-fixture.ts'
import { cli, output } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { inMount, type MountDriver, suiteScope } from './mount.ts'

const MIB = 1024 * 1024
const LARGE_BYTES = 16 * MIB
const FOLDERS = 8
const FILES = 40

/** Looks at everything, as programs do: names, attributes, targets, bytes, a second open of each file. */
const LOOK = `cd "$0"
find . > /dev/null; ls -lR . > /dev/null; stat folder-0/* > /dev/null
find . -type f -print0 | xargs -0 cat > /dev/null; find . -type l -print0 | xargs -0 readlink > /dev/null
test -x folder-0/file-0; test -e folder-0/nothing || test -e folder-0/nothing || true; grep -rq nowhere . || true`

/** Asked once; then the kernel knows that there is nothing to ask, whoever comes. */
const askedOnce = ['OPEN', 'OPENDIR', 'FLUSH', 'GETXATTR', 'LISTXATTR', 'ACCESS', 'STATX', 'LSEEK', 'POLL']

/** What a driver that speaks the protocol itself lets the kernel ask, and how often. */
export function messageSuite(driver: MountDriver): void {
  describe(`messages to the ${driver.name} driver`, () => {
    const scope = suiteScope()
    let state = ''
    let added = ''
    before(async () => {
      state = tempFolder(scope, 'state')
      const tree = join(tempFolder(scope, 'tree'), 'tree')
      for (let i = 0; i < FOLDERS; i++) {
        mkdirSync(join(tree, `folder-${i}`), { recursive: true })
        for (let j = 0; j < FILES; j++)
          writeFileSync(join(tree, `folder-${i}`, `file-${j}`), noise(i * FILES + j, 100 * j), { mode: 0o755 })
        symlinkSync(`folder-${i}`, join(tree, `link-${i}`))
      }
      writeFileSync(join(tree, 'large'), noise(0, LARGE_BYTES))
      const { code, stdout, stderr } = await cli(['add', tree, '--state', state])
      assert.equal(code, 0, stderr)
      added = `${stdout}`.trim()
    })

    const mountIt = async (t: TestContext) => {
      const mount = await mountStore(t, { state, args: driver.args })
      return { mount, tree: inMount(mount, added) }
    }

    test('what has been looked at once is asked for no more, whoever looks', async t => {
      const { mount, tree } = await mountIt(t)
      await output('sh', ['-c', LOOK, tree])
      const first = await requests(mount)
      for (const name of askedOnce) assert.ok((first[name] ?? 0) <= 1, `${name}: ${first[name]}`)
      assert.ok(first.READ! > FOLDERS * (FILES - 1), 'it was cold')
      await output('sh', ['-c', LOOK, tree])
      const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', 'sh', '-c', LOOK, tree]
      await output('setpriv', asNobody)
      assert.deepEqual(await requests(mount), first)
    })

    test('a listing with attributes takes no message for each entry', async t => {
      const { mount, tree } = await mountIt(t)
      await output('ls', ['-lR', tree])
      const { LOOKUP = 0, GETATTR = 0, READDIRPLUS = 0, READDIR = 0 } = await requests(mount)
      assert.ok(READDIRPLUS >= FOLDERS)
      // Links are looked up by ls itself; what else there is has come with the listings.
      assert.ok(
        LOOKUP + GETATTR + READDIRPLUS + READDIR < FOLDERS * 8,
        `${LOOKUP} ${GETATTR} ${READDIRPLUS} ${READDIR}`,
      )
    })

    test('a cold file is read in large pieces', async t => {
      const { mount, tree } = await mountIt(t)
      await output('cat', [`${tree}/large`])
      const { READ = 0 } = await requests(mount)
      assert.ok(READ > 0 && READ <= (2 * LARGE_BYTES) / MIB, `${READ} READs`)
    })

    test('an overlay above asks for no attribute of its own more than once', async t => {
      const { mount, tree } = await mountIt(t)
      const script = `mount -t tmpfs none "$0"; mkdir "$0/upper" "$0/work" "$0/merged"
        mount -t overlay -o "lowerdir=$1,upperdir=$0/upper,workdir=$0/work" none "$0/merged"
        cd "$0/merged"; ls -lR . > /dev/null; find . -type f -print0 | xargs -0 cat > /dev/null
        for i in 0 1 2 3; do echo >> folder-$i/file-1; mv folder-$i/file-2 folder-$i/moved; rm folder-$i/file-3; done`
      await output('unshare', ['-m', 'sh', '-ec', script, tempFolder(t, 'layers'), tree])
      const counts = await requests(mount)
      for (const name of askedOnce) assert.ok((counts[name] ?? 0) <= 1, `${name}: ${counts[name]}`)
    })
  })
}

/** Requests by kind so far, but for what the kernel says and does not ask. */
async function requests(mount: Mount): Promise<Record<string, number>> {
  const { FORGET: _, BATCH_FORGET: __, ...asked } = (await mount.status()).requests
  return asked
}
