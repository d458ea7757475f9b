import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import { FUSE_SUBTYPE, mountAt } from '../mountinfo.ts'

/**
 * $1 is the mount point, $2 the device number of the mount as mountinfo shows it: another mount that has come to the
 * same place meanwhile is not ours to take. What follows are files that go with the mount.
 */
const SCRIPT = `
read -r word
[ "$word" = done ] && exit
grep -q "^[0-9]* [0-9]* $2 .* - fuse.${FUSE_SUBTYPE} " /proc/self/mountinfo || exit
umount -l -- "$1"
shift 2
rm -f -- "$@"
`

/**
 * A shell that waits for this process to end, and then takes the mount away: who is killed with SIGKILL cannot do it
 * himself, and a dead mount is an error for everybody who comes near. `files` go too. Returns how to dismiss it.
 */
export function startReaper(mountpoint: string, files: readonly string[]): () => void {
  const args = ['-c', SCRIPT, 'sh', mountpoint, mountAt(mountpoint)?.device ?? '', ...files]
  // In a session of its own: a signal to our process group does not end it.
  const reaper = spawn('/bin/sh', args, { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' })
  reaper.on('error', () => {})
  reaper.stdin.on('error', () => {})
  // Neither keeps this process, whose end it waits for.
  reaper.unref()
  ;(reaper.stdin as Socket).unref()
  return () => reaper.stdin.end('done\n')
}
