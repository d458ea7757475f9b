// `npm test [-- <pattern>... <option of node --test>...]`: set up, build, check, and run the tests; patterns are parts
// of file names such as `nix/nar`.
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from './build.mjs'
import { setUpTests } from './setup.mjs'
import { main, root, runForeground, runStep, SetupError, say } from './tools.mjs'

/** Files at once: their servers and Kubo daemons need a processor too. */
const CONCURRENCY = 2

/** Milliseconds for one file of tests, on slow machines too; one that hangs is ended and fails. */
const TIMEOUT = 600_000

await main(async () => {
  if (process.getuid() !== 0) throw new SetupError('the tests mount, and run programs as other users: run them as root')
  if (!existsSync('/dev/fuse')) throw new SetupError('the tests mount, and there is no /dev/fuse: modprobe fuse')
  setUpTests()
  say('building')
  build()
  const args = process.argv.slice(2)
  const options = args.filter(arg => arg.startsWith('-'))
  const patterns = args.filter(arg => !arg.startsWith('-'))
  const files = findTests(patterns)
  if (files.length === 0) throw new SetupError(`no test file matches ${patterns.join(' ')}`)
  if (patterns.length === 0) {
    say('npm run check')
    runStep('npm', ['run', '--silent', 'check'])
  }
  return runTests(files, options)
})

/** Compiled test files, relative to the checkout; with patterns those whose name contains one of them. */
function findTests(patterns) {
  const names = readdirSync(join(root, 'dist', 'test'), { recursive: true })
  const files = names.filter(name => name.endsWith('.test.js')).sort()
  const wanted = files.filter(
    name => patterns.length === 0 || patterns.some(pattern => `test/${name.replace(/js$/, 'ts')}`.includes(pattern)),
  )
  return wanted.map(name => join('dist', 'test', name))
}

/** A run of no test, or of fewer than there are, is a failure. */
async function runTests(files, options) {
  const work = mkdtempSync(join(tmpdir(), 'nix-ipfs-mount-run-'))
  // Tests run programs as other users, too.
  chmodSync(work, 0o755)
  const counts = join(work, 'counts.json')
  try {
    const runner = [
      '--test',
      `--test-concurrency=${CONCURRENCY}`,
      `--test-timeout=${TIMEOUT}`,
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${join(root, 'scripts', 'test-count.mjs')}`,
      `--test-reporter-destination=${counts}`,
    ]
    const status = await runForeground(process.execPath, [...runner, ...options, ...files], {
      env: { ...process.env, TMPDIR: work },
    })
    if (status !== 0) return status
    const { ran, leftOut } = JSON.parse(readFileSync(counts, 'utf8'))
    if (ran === 0) throw new SetupError('no test was run')
    if (leftOut.length > 0 && options.length === 0) throw new SetupError(`tests were skipped: ${leftOut.join(', ')}`)
    return 0
  } finally {
    removeWork(work)
  }
}

/** Removes what tests left that were ended before they could clean up: their mounts, then their files. */
function removeWork(work) {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map(line => line.split(' ')[4])
    .filter(path => path?.startsWith(`${work}/`))
  for (const path of mounts.reverse()) runStep('umount', ['-l', path])
  rmSync(work, { recursive: true, force: true })
}
