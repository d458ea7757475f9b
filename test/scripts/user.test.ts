import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { checkout, type RunResult, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'

// What `npm start` does as root before it starts the program.

const setUpUser = `import { setUpUser } from ${JSON.stringify(join(checkout, 'scripts', 'setup.mjs'))}; setUpUser()`

/** Runs a shell script with a copy of the machine's /etc in place of it; `$setUp` makes the user. */
function withOwnEtc(t: TestContext, script: string): Promise<RunResult> {
  const etc = join(tempFolder(t, 'etc'), 'etc')
  const lines = [
    'set -e; cp -a /etc "$0"; mount --bind "$0" /etc; mount -t tmpfs none /var/log',
    'sed -i /^nix-ipfs-mount:/d /etc/passwd /etc/group /etc/shadow /etc/gshadow',
    'setUp() { "$node" --input-type=module --eval "$program"; }; node=$1 program=$2',
    script,
  ]
  return run('unshare', ['-m', 'sh', '-c', lines.join('\n'), etc, process.execPath, setUpUser])
}

test('the system user is made, once', async t => {
  const { code, stdout, stderr } = await withOwnEtc(t, 'setUp; setUp; getent passwd nix-ipfs-mount; id nix-ipfs-mount')
  assert.equal(code, 0, stderr)
  const [entry, id] = stdout.toString().split('\n')
  const [name, , uid, gid, , home, shell] = entry!.split(':')
  assert.deepEqual([name, home], ['nix-ipfs-mount', '/var/lib/nix-ipfs-mount'])
  assert.match(shell!, /\/(nologin|false)$/)
  assert.ok(Number(uid) > 0 && Number(uid) < 1000)
  assert.equal(id, `uid=${uid}(${name}) gid=${gid}(${name}) groups=${gid}(${name})`)
  assert.equal(stderr.match(/making the system user nix-ipfs-mount/g)?.length, 1)
})

test('where its group is there already the user is put into that', async t => {
  const { code, stdout, stderr } = await withOwnEtc(t, 'groupadd --system nix-ipfs-mount; setUp; id -gn nix-ipfs-mount')
  assert.deepEqual({ code, stdout: stdout.toString() }, { code: 0, stdout: 'nix-ipfs-mount\n' }, stderr)
})

test('a machine whose users cannot be changed is told of, and goes on', async t => {
  const { code, stderr } = await withOwnEtc(t, 'mount -o remount,bind,ro /etc; setUp')
  assert.equal(code, 0)
  assert.match(stderr, /useradd .* failed/)
})
