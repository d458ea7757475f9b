import { test } from 'node:test'
import { tempFolder } from '../helpers/temp.ts'
import { assertRefused, inNamespace, lifeCycleSuite } from '../suites/mount-life-cycle.ts'
import { libfuse } from './drivers.ts'

lifeCycleSuite(libfuse)

test('without libfuse2 it names the package', async t => {
  const [folder, state] = [tempFolder(t, 'mount'), tempFolder(t, 'state')]
  // An overlay whose upper layer says that the files are gone: a device 0/0 is a whiteout.
  const script = `layers=$(mktemp -d); mount -t tmpfs none "$layers"; mkdir "$layers/upper" "$layers/work"
    found=$(/sbin/ldconfig -p | sed -n 's/.*libfuse\\.so\\.2 .*=> //p' | head -n 1); library=$(dirname "$(readlink -f "$found")")
    for file in "$library"/libfuse.so.2*; do mknod "$layers/upper/$(basename "$file")" c 0 0; done
    mount -t overlay -o "lowerdir=$library,upperdir=$layers/upper,workdir=$layers/work" none "$library"
    umount -l "$layers"; rmdir "$layers"
    exec "$@"`
  const args = [folder, '--state', state, ...libfuse.args]
  assertRefused(await inNamespace(script, args), /libfuse\.so\.2 .*package libfuse2/)
})
