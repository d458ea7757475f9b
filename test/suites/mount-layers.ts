import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { holdOpen } from '../helpers/holder.ts'
import { mountStore } from '../helpers/mount.ts'
import { MANY_ENTRIES } from '../helpers/mount-fixture.ts'
import { cleanSettings, cliProgram, output, run } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'
import { inMount, type Shared } from './mount.ts'

/**
 * Makes an overlay with the folder $2 below and a tmpfs above, in the empty folder $1, and goes into it. $lower and
 * $upper are the layers, $merged is what they make together.
 */
const OVERLAY = `
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/merged"
lower=$2 upper=$1/upper merged=$1/merged
mount -t overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$1/work" none "$merged"
cd "$merged"
shift 2
`

/** Readers of everything through an overlay at once. */
const READERS = 8

/** What lies on the mount: overlays, bind mounts, mount namespaces. Each script has a namespace of its own. */
export function layerTests(shared: Shared): void {
  test('overlay: append to one of two equal files, or chmod, leaves the other', async t => {
    const said = await overlay(
      t,
      `cmp many/entry-0 many/entry-1000
      exec 5<many/entry-1000
      echo more >> many/entry-0
      chmod 600 many/entry-4
      cat many/entry-0 many/entry-1000 - <&5
      cat "$lower/many/entry-0"
      stat -c '%a %s' many/entry-4 many/entry-1004 "$lower/many/entry-4"`,
    )
    const entry = 'content of entry 0\n'
    assert.equal(said, `${entry}more\n${entry}${entry}${entry}600 19\n444 19\n444 19\n`)
  })

  test('overlay: a file, a program, a folder and a link are copied up with what they are', async t => {
    const said = await overlay(
      t,
      `touch -d @7 bin/probe; chmod 700 bin/large; chown 1:1 sizes; chown -h 1:1 links/relative links/long-4095
      for file in bin/probe bin/large links/relative links/long-4095; do test -e "$upper/$file" -o -L "$upper/$file"; done
      cmp bin/probe "$lower/bin/probe"; cmp bin/large "$lower/bin/large"
      test "$(readlink links/long-4095)" = "$(readlink "$lower/links/long-4095")"
      stat -c '%n %a %Y %u' bin/probe bin/large sizes
      readlink links/relative
      echo 2 > links/../sizes/new; cat links/relative | wc -c
      diff -r --no-dereference "$lower" . || true
      bin/probe echo it runs || test $? = 42`,
    )
    const listed = 'bin/probe 555 7 0\nbin/large 700 1 0\nsizes 555 1 1\n'
    assert.equal(said, `${listed}../sizes/1\n1\nOnly in ./sizes: new\nit runs\n`)
  })

  test('overlay: what is removed is gone above and stays below, and may come again', async t => {
    const said = await overlay(
      t,
      `rm bin/large links/relative; rm -r names; rmdir empty-folder
      ls . bin links/relative names/upper 2>&1 || true
      mkdir names; echo new > names/upper; echo again > bin/large
      ls names; cat names/upper bin/large
      stat -c %F "$upper/empty-folder"
      ls "$lower/names" | wc -l; stat -c %s "$lower/bin/large"`,
    )
    const real = (folder: string) => output('ls', [`${shared().real}/${folder}`])
    const top = `${await real('')}`.split('\n').filter(name => name !== 'names' && name !== 'empty-folder')
    const gone = ['links/relative', 'names/upper'].map(
      name => `ls: cannot access '${name}': No such file or directory\n`,
    )
    const lines = `${await real('names')}`.trim().split('\n').length
    const again = `upper\nnew\nagain\ncharacter special file\n${lines}\n1048581\n`
    assert.equal(said, `${gone.join('')}.:\n${top.join('\n')}\nbin:\nprobe\nscript\n${again}`)
  })

  test('overlay: a listing merges both layers, once each, in a large folder', async t => {
    const { probe } = shared().fixture
    const said = await overlay(
      t,
      `touch many/new-1 many/new-2; rm many/entry-7 many/entry-19999; echo > many/entry-8
      ls -U many | sort > "$upper/../listed"
      sort -u "$upper/../listed" | wc -l; wc -l < "$upper/../listed"
      grep -c '^new-[12]$' "$upper/../listed"; grep -c -e '^entry-7$' -e '^entry-19999$' "$upper/../listed" || true
      "$1" seekdir names 3; "$1" seek many`,
      [probe],
    )
    assert.equal(said, `${MANY_ENTRIES}\n${MANY_ENTRIES}\n2\n0\n`)
  })

  test('overlay: names change above', async t => {
    const said = await overlay(
      t,
      `mv bin/script bin/renamed; mv sizes/4096 sizes/4097; mv sizes renamed-folder; mv links/dangling bin/dangling
      mkdir new; echo 1 > new/file; mv new/file new/other; mv new newer; mv newer/other bin/probe
      bin/renamed x; cat bin/probe; readlink bin/dangling; cmp renamed-folder/4097 "$lower/sizes/4096"
      ls bin; ls sizes 2>/dev/null || echo gone; ls newer; ls "$lower/bin"`,
    )
    const bin = 'dangling\nlarge\nprobe\nrenamed\n'
    assert.equal(said, `script x\n1\ndoes/not/exist\n${bin}gone\nlarge\nprobe\nscript\n`)
  })

  test('overlay: a path that is added below appears where it was not looked up before', async t => {
    const { mount, state } = shared()
    const folder = join(tempFolder(t, 'tree'), 'appears-below')
    mkdirSync(folder)
    writeFileSync(join(folder, 'file'), 'new below\n')
    const said = await overlay(
      t,
      `ls > /dev/null; touch above
      path=$("$@"); name=$(basename "$path")
      until test -e "$lower/$name"; do sleep 0.05; done
      cat "$name/file"
      until ls | grep -q "^$name$"; do sleep 0.05; done
      echo changed > "$name/file"; cat "$lower/$name/file" "$name/file"`,
      [process.execPath, cliProgram, 'add', folder, '--state', state],
      mount.folder,
    )
    assert.equal(said, 'new below\nnew below\nchanged\n')
  })

  test(`overlay: ${READERS} readers through it and as many beside it, while files are copied up`, async t => {
    const { driver, fixture, real, state } = shared()
    const sums = 'find . -path ./many -prune -o -type f -print0 | sort -z | xargs -0 sha256sum'
    const expected = `${await output('sh', ['-c', `cd "$0" && ${sums} | sha256sum`, real])}`
    const lower = inMount(await mountStore(t, { state, args: driver.args }), fixture.tree)
    const said = await overlay(
      t,
      `for i in $(seq "$1"); do
        (${sums} | sha256sum) & (cd "$lower"; ${sums} | sha256sum) &
      done
      for i in $(seq 0 100); do echo >> many/entry-$i; done
      wait`,
      [`${READERS}`],
      lower,
    )
    assert.equal(said, expected.repeat(2 * READERS))
  })

  test('bind mounts of a folder and a file of the mount, and their end', async t => {
    const { mounted, real } = shared()
    const script = `mkdir "$1/folder"; touch "$1/file"
      mount --bind "$2/bin" "$1/folder"; mount --bind "$2/sizes/4096" "$1/file"
      cmp "$1/file" "$3/sizes/4096"; diff -r "$1/folder" "$3/bin"
      "$1/folder/script" bound; touch "$1/folder/x" 2>&1 || true
      umount "$1/folder" "$1/file"; ls -A "$1/folder"; cat "$1/file"
      cmp "$2/sizes/4096" "$3/sizes/4096"; diff -r "$2/bin" "$3/bin"`
    const work = tempFolder(t, 'bind')
    const said = `${await inNamespace(script, [work, mounted, real])}`
    assert.equal(said, `script bound\ntouch: cannot touch '${work}/folder/x': Read-only file system\n`)
  })

  test('a mount namespace that keeps the mount neither keeps the server nor hangs', async t => {
    const { driver, fixture, state } = shared()
    const mount = await mountStore(t, { state, args: driver.args })
    const folder = tempFolder(t)
    const inside = join(folder, 'inside')
    writeFileSync(inside, `#!/bin/sh\nexec unshare -m --propagation private "${fixture.probe}" "$@"\n`, { mode: 0o755 })
    const tree = inMount(mount, fixture.tree)
    const holder = await holdOpen(t, inside, `${tree}/sizes/1048575`, `${tree}/bin`)
    assert.equal(await holder.read(), '1048575')
    assert.equal(await mount.stop(), 0)
    assert.match(await holder.read(), /^E(NOTCONN|CONNABORTED|IO)$/)
    await holder.close()
  })

  /** What a script says that runs in an overlay with the tree, or another folder, as its lower layer. */
  async function overlay(t: TestContext, script: string, args: readonly string[] = [], lower = shared().mounted) {
    return `${await inNamespace(OVERLAY + script, [tempFolder(t, 'layers'), lower, ...args])}`
  }
}

/** In a mount namespace of its own; an Error with what it said where a command of the script fails. */
async function inNamespace(script: string, args: readonly string[]): Promise<Buffer> {
  const command = ['-m', 'sh', '-c', `set -e\n${script}`, 'sh', ...args]
  const { code, stdout, stderr } = await run('unshare', command, { env: cleanSettings() })
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' }, `${stdout}`)
  return stdout
}
