import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isOurs, mountAt, mountHolding, ourMountBelow, overlaysAbove, parseMountinfo } from '../../src/fs/mountinfo.ts'

// As Linux 6.18 writes them; proc_pid_mountinfo(5). The optional fields before the dash are none, one or two. In
// lowerdir= a colon or backslash of a folder's name has a backslash before it, in lowerdir+= it has not.
const text = `21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 21 0:25 / /tmp rw,nosuid shared:12 master:3 - tmpfs tmp\\040fs rw,mode=755
31 30 0:40 / /tmp/a\\040mount:\\134point\\012 ro,nosuid,nodev,relatime - fuse.nix-ipfs-mount nix-ipfs-mount ro,user_id=0
32 21 0:41 / /srv/other rw - fuse.sshfs host: rw,user_id=0
33 21 0:42 / /nix/store rw,relatime - overlay overlay rw,lowerdir=/etc:/tmp/a\\040mount\\134:\\134\\134point\\012/sub,upperdir=/up
34 21 0:43 / /over/plain rw,relatime - overlay overlay rw,lowerdir+=/srv/other,lowerdir+=/etc,upperdir=/up
35 21 0:44 / /over/new rw,relatime - overlay overlay rw,lowerdir+=/srv/other,lowerdir+=/tmp/a\\040mount:\\134point\\012
36 30 0:45 / /tmp/caf\xc3\xa9 rw - fuse.nix-ipfs-mount nix-ipfs-mount ro
37 36 0:46 / /tmp/caf\xc3\xa9 rw - tmpfs none rw
`
const mounts = parseMountinfo(text)
const ours = '/tmp/a mount:\\point\n'

test('mountinfo: fields, with and without optional ones, escapes and bytes undone', () => {
  assert.deepEqual(
    mounts.map(({ id }) => id),
    [21, 30, 31, 32, 33, 34, 35, 36, 37],
  )
  assert.deepEqual(mounts[1], {
    id: 30,
    device: '0:25',
    mountpoint: '/tmp',
    type: 'tmpfs',
    source: 'tmp fs',
    superOptions: ['rw', 'mode=755'],
  })
  assert.deepEqual(
    mounts.filter(isOurs).map(({ mountpoint }) => mountpoint),
    [ours, '/tmp/caf\u00e9'],
  )
})

test('mountinfo: the mount at a path is the topmost, and one only at exactly that path', () => {
  assert.equal(mountAt('/tmp/caf\u00e9', mounts)?.type, 'tmpfs')
  assert.equal(mountAt('/srv/other', mounts)?.id, 32)
  assert.equal(mountAt('/srv', mounts), undefined)
  assert.equal(mountAt('/srv/other/', mounts), undefined)
})

test('mountinfo: a path lies on the deepest mount above it', () => {
  const held: [string, number][] = [
    ['/', 21],
    ['/srv/others', 21],
    ['/srv/other', 32],
    ['/srv/other/x/y', 32],
    ['/tmp/x', 30],
    [`${ours}/x`, 31],
    ['/tmp/caf\u00e9/x', 37],
  ]
  for (const [path, id] of held) assert.equal(mountHolding(path, mounts)?.id, id, path)
})

test('mountinfo: our mount shows through an overlay above it', () => {
  assert.equal(ourMountBelow(`${ours}/x`, mounts)?.id, 31)
  assert.equal(ourMountBelow('/nix/store/x', mounts)?.id, 31)
  assert.equal(ourMountBelow('/over/new/x', mounts)?.id, 31)
  assert.equal(ourMountBelow('/over/plain/x', mounts), undefined)
  assert.equal(ourMountBelow('/tmp/x', mounts), undefined)
  // Covered by another file system.
  assert.equal(ourMountBelow('/tmp/caf\u00e9/x', mounts), undefined)
})

test('mountinfo: overlays above a mount, by its path, a folder in it, or a name that nobody can resolve', () => {
  assert.deepEqual(overlaysAbove(ours, mounts), ['/nix/store', '/over/new'])
  assert.deepEqual(overlaysAbove('/srv/other', mounts), ['/over/plain', '/over/new'])
  // Bound to another place, which an overlay names.
  const bound = { ...mountAt(ours, mounts)!, mountpoint: '/srv/bound' }
  const over = {
    ...mountAt('/over/plain', mounts)!,
    mountpoint: '/over/bound',
    superOptions: ['lowerdir=/srv/bound/x'],
  }
  assert.deepEqual(overlaysAbove(ours, [...mounts, bound, over]), ['/nix/store', '/over/new', '/over/bound'])
  assert.deepEqual(overlaysAbove('/srv', mounts), ['/over/plain', '/over/new'])
  assert.deepEqual(overlaysAbove('/tmp/caf\u00e9', mounts), [])
})
