import assert from 'node:assert/strict'
import { test } from 'node:test'
import { output } from '../helpers/run.ts'
import type { Shared } from './mount.ts'

/** Calls that make what is there already: every file system says so, whether it is read-only or not. */
const existing = ['mkdir', 'mknod(S_IFREG)', 'symlink', 'link']

export function writeTests(shared: Shared): void {
  // As root, whom no permission stops before the file system is asked.
  test('every system call that writes fails with EROFS, below a store path', async () => {
    const { fixture, real, mounted } = shared()
    const said = await output(fixture.probe, ['write', ...writeTargets(mounted)])
    assertReadOnly(`${said}`)
    // The kernel's own read-only mount of the same files is the reference.
    const script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    const args = ['-m', 'sh', '-c', script, 'sh', real, fixture.probe, 'write', ...writeTargets(real)]
    assert.equal(`${said}`, `${await output('unshare', args)}`)
  })

  test('every system call that writes fails with EROFS, at the root', async () => {
    const { fixture, mount, mounted } = shared()
    const [, ...targets] = writeTargets(mounted)
    assertReadOnly(`${await output(fixture.probe, ['write', mount.folder, ...targets])}`)
  })

  test('after the attempts everything is as before', async () => {
    const { real, mounted } = shared()
    const options = ['-aicn', '--delete', '--exclude=/many']
    assert.equal(`${await output('rsync', [...options, `${mounted}/`, `${real}/`])}`, '')
  })
}

/** A folder, and a file, a folder and a link in it. */
function writeTargets(tree: string): string[] {
  return [tree, `${tree}/sizes/4096`, `${tree}/empty-folder`, `${tree}/links/relative`]
}

function assertReadOnly(said: string): void {
  const lines = said.trim().split('\n')
  assert.ok(lines.length > 50)
  for (const line of lines) {
    const call = line.slice(0, line.lastIndexOf(' '))
    assert.equal(line, `${call} ${existing.includes(call) ? 'EEXIST' : 'EROFS'}`)
  }
}
