// Installs what `npm start`, `npm test` and `npm run bench` need and is missing: Debian packages, node_modules, and the
// real Kubo that tests and benchmarks compare with. Every step looks first and says what it does; with everything in place nothing is run.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { findCommand, readOutput, root, runStep, SetupError, say } from './tools.mjs'

const OLDEST_NODE = [20, 19]
const OLDEST_GO = [1, 26]

/** Debian packages and how to see without dpkg that one is there, so that other systems may provide the same. */
const packages = [
  { name: 'libfuse2', present: () => hasLibrary('libfuse.so.2') },
  { name: 'fuse3', present: () => findCommand('fusermount3') && findCommand('fusermount') },
  { name: 'nix-bin', present: () => findCommand('nix') && findCommand('nix-store') },
]
const testPackages = [
  { name: 'rsync', present: () => findCommand('rsync') },
  { name: 'gcc', present: () => findCommand('gcc') },
  { name: 'libc6-dev', present: () => hasLibrary('libc.a') },
  { name: 'patchelf', present: () => findCommand('patchelf') },
]
/** The other FUSE file system that the benchmark compares with, and the program that makes its images. */
const benchPackages = [
  { name: 'squashfuse', present: () => findCommand('squashfuse_ll') },
  { name: 'squashfs-tools', present: () => findCommand('mksquashfs') },
]
/** Go fetches Kubo over HTTPS. */
const certificates = { name: 'ca-certificates', present: () => certificateFiles.some(existsSync) }
const certificateFiles = [
  process.env.SSL_CERT_FILE || '/etc/ssl/certs/ca-certificates.crt',
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
]

/** Everything that running the program needs. */
export function setUp() {
  checkNode()
  installPackages(packages)
  installModules()
}

/** Whom root's program runs as where it is not told otherwise. */
const SYSTEM_USER = 'nix-ipfs-mount'

/** Makes that user, as root; the program also works without, and says so. */
export function setUpUser() {
  if (process.getuid() !== 0 || isKnown('passwd')) return
  try {
    installPackages([{ name: 'passwd', present: () => findCommand('useradd') }])
    say(`making the system user ${SYSTEM_USER}, as whom the program runs and who owns its state`)
    runStep(findCommand('useradd'), [
      '--system',
      ...(isKnown('group') ? ['--gid', SYSTEM_USER] : ['--user-group']),
      '--no-create-home',
      ...['--home-dir', '/var/lib/nix-ipfs-mount'],
      ...['--shell', findCommand('nologin') ?? '/bin/false'],
      SYSTEM_USER,
    ])
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    say(error.message)
  }
}

/** Whether a database of nsswitch.conf(5) has an entry of that name. */
function isKnown(database) {
  return readOutput('getent', [database, SYSTEM_USER]) !== undefined
}

/** The same, and what the tests need besides. */
export function setUpTests() {
  setUpWith(testPackages)
}

/** The same, and what the benchmarks compare with. */
export function setUpBenchmarks() {
  setUpWith([...testPackages, ...benchPackages])
}

function setUpWith(more) {
  checkNode()
  const kubo = pinnedKubo()
  const buildKubo = !existsSync(kubo.binary)
  if (buildKubo) checkGo()
  installPackages([...packages, ...more, ...(buildKubo ? [certificates] : [])])
  installModules()
  if (buildKubo) makeKubo(kubo)
}

function checkNode() {
  if (atLeast(process.versions.node, OLDEST_NODE)) return
  throw new SetupError(`Node ${OLDEST_NODE.join('.')} or newer is needed, this is ${process.versions.node}`)
}

/** Before the long steps: that Go can build the pinned Kubo. */
function checkGo() {
  // Outside any module, so that no go.mod makes it fetch another toolchain.
  const version = /go([0-9.]+)/.exec(readOutput('go', ['env', 'GOVERSION'], { cwd: '/' }) || '')?.[1]
  if (version && atLeast(version, OLDEST_GO)) return
  const found = version ? `this is ${version}` : 'there is none in PATH'
  throw new SetupError(
    `Go ${OLDEST_GO.join('.')} or newer is needed to build the tests' Kubo, ${found}: https://go.dev/dl/`,
  )
}

function installPackages(wanted) {
  const missing = wanted.filter(entry => !entry.present()).map(entry => entry.name)
  if (missing.length === 0) return
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...missing]
  const byHand = `run as root: apt-get update && ${install.join(' ')}`
  if (!findCommand('apt-get')) throw new SetupError(`missing, and there is no apt-get: ${missing.join(', ')}`)
  const isRoot = process.getuid() === 0
  if (!isRoot && !findCommand('sudo')) throw new SetupError(`Debian packages are missing; ${byHand}`)
  const asRoot = isRoot ? ['env'] : ['sudo', 'env']
  const [command, ...prefix] = [...asRoot, 'DEBIAN_FRONTEND=noninteractive']
  say(`installing Debian packages: ${missing.join(' ')}`)
  try {
    // stdin stays open for sudo's question.
    for (const step of [['apt-get', 'update'], install]) {
      runStep(command, [...prefix, ...step], { stdio: [isRoot ? 'ignore' : 'inherit', 2, 2] })
    }
  } catch (error) {
    throw new SetupError(`${error.message}; ${byHand}`)
  }
}

function installModules() {
  const why = staleModules()
  if (!why) return
  if (!findCommand('npm')) throw new SetupError('npm is needed: it comes with Node, or as the Debian package npm')
  say(`installing node_modules with npm ci (${why})`)
  runStep('npm', ['ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund'])
}

/**
 * Why node_modules is not what package-lock.json says, or undefined. npm keeps what it installed in a hidden lockfile,
 * written last; file times say nothing, as npm may write package-lock.json after it.
 */
function staleModules() {
  const installed = lockedPackages(join('node_modules', '.package-lock.json'))
  if (!installed) return 'there are none'
  const wanted = lockedPackages('package-lock.json')
  for (const [path, entry] of Object.entries(wanted)) {
    const have = installed[path]
    if (path === '' || (!have && entry.optional && path !== 'node_modules/fuse-native')) continue
    // Its prebuilt binding is x64 only; elsewhere npm leaves it out every time.
    if (!have && entry.optional && process.arch !== 'x64') continue
    if (!have || !existsSync(join(root, path))) return `${path} is missing`
    if (have.version !== entry.version || have.integrity !== entry.integrity) return `${path} is not ${entry.version}`
  }
  return undefined
}

function lockedPackages(file) {
  try {
    return JSON.parse(readFileSync(join(root, file), 'utf8')).packages
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

/** The release that test/kubo/go.mod pins, and where its binary is kept: outside the tree, for all checkouts. */
export function pinnedKubo() {
  const source = join(root, 'test', 'kubo')
  const version = /github\.com\/ipfs\/kubo v([0-9.]+)/.exec(readFileSync(join(source, 'go.mod'), 'utf8'))[1]
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const folder = join(cache, 'nix-ipfs-mount', `kubo-${version}`)
  return { version, source, folder, binary: join(folder, 'ipfs') }
}

function makeKubo({ version, source, folder, binary }) {
  say(`building Kubo ${version} with Go, once, in ${folder} (some minutes)`)
  mkdirSync(folder, { recursive: true })
  // -mod=mod completes go.mod, so it works on a copy; the rename makes a whole binary appear or none.
  const work = mkdtempSync(join(folder, 'build-'))
  try {
    for (const file of ['go.mod', 'go.sum']) copyFileSync(join(source, file), join(work, file))
    const built = join(work, 'ipfs')
    runStep('go', ['build', '-mod=mod', '-o', built, 'github.com/ipfs/kubo/cmd/ipfs'], {
      cwd: work,
      env: { ...process.env, GOWORK: 'off', GOFLAGS: '' },
    })
    renameSync(built, binary)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Whether a library lies where Debian's linker looks, or where /lib64 systems keep it. */
function hasLibrary(name) {
  const folders = ['/usr/lib', '/lib', '/usr/lib64', '/lib64', '/usr/local/lib']
  for (const folder of ['/usr/lib', '/lib']) {
    if (!existsSync(folder)) continue
    for (const entry of readdirSync(folder)) if (entry.endsWith('-linux-gnu')) folders.push(join(folder, entry))
  }
  return folders.some(folder => existsSync(join(folder, name)))
}

function atLeast(version, [major, minor]) {
  const [haveMajor, haveMinor] = version.split('.').map(Number)
  return haveMajor > major || (haveMajor === major && haveMinor >= minor)
}
