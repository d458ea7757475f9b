// `npm start [-- <mountpoint> <options>]`: set up, build, put something real into an empty store, and mount it in the
// foreground. What follows `--` goes to the program.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, lstatSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { build } from './build.mjs'
import { setUp, setUpUser } from './setup.mjs'
import { cliProgram, main, readOutput, root, runForeground, SetupError, say } from './tools.mjs'

/** The largest closure that is added unasked, in bytes. */
const SEED_LIMIT = 500e6

/** Options that say which store is meant, and whose it is: `ls` and `add` need them too. */
const STORE_OPTIONS = ['--state', '--blocks', '--config', '--user']

await main(async () => {
  setUp()
  say('building')
  build()
  const given = process.argv.slice(2)
  const args = given[0]?.includes('/') ? given : [defaultMountpoint(), ...given]
  const storeOptions = pickOptions(given, STORE_OPTIONS)
  if (given.includes('--help') || given.includes('--version'))
    return runForeground(process.execPath, [cliProgram, ...given])
  if (!process.env.NIX_IPFS_USER && pickOptions(given, ['--user']).length === 0) setUpUser()
  if (listPaths(storeOptions).length === 0) await seed(storeOptions)
  const onLine = async line => {
    const mountpoint = /^mounted (.+)$/.exec(line)?.[1]
    if (!mountpoint) return
    // They are a courtesy: the mount goes on without them.
    await printExamples(mountpoint, storeOptions).catch(error => say(`no examples: ${error.message}`))
  }
  return runForeground(process.execPath, [cliProgram, ...args], { onLine })
})

function defaultMountpoint() {
  return process.getuid() === 0 ? '/nix/store-ipfs' : join(homedir(), 'nix-store-ipfs')
}

/** Those of `args` that are one of these options, with their values. */
function pickOptions(args, names) {
  const picked = []
  for (const [i, arg] of args.entries()) {
    if (names.includes(arg) && i + 1 < args.length) picked.push(arg, args[i + 1])
    else if (names.some(name => arg.startsWith(`${name}=`))) picked.push(arg)
  }
  return picked
}

/** What the program's `ls --json` says of the store, or of a path in it. */
function listPaths(storeOptions, ...args) {
  const command = [cliProgram, 'ls', '--json', ...args, ...storeOptions]
  const result = spawnSync(process.execPath, command, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 2],
  })
  if (result.status !== 0) throw new SetupError('the store cannot be listed')
  return JSON.parse(result.stdout)
}

async function seed(storeOptions) {
  const path = nixClosure()
  const what = path ? ['--closure', path] : [join(root, 'node_modules')]
  say(`the store is empty: nix-ipfs-mount add ${what.join(' ')}`)
  const status = await runForeground(process.execPath, [cliProgram, 'add', ...what, ...storeOptions])
  if (status !== 0) throw new SetupError(`nothing was added (status ${status})`)
}

/** The valid path of the local Nix store with the largest closure below the limit, or undefined. */
function nixClosure() {
  // Without a database there is nothing, and asking would make one.
  if (!existsSync('/nix/var/nix/db/db.sqlite')) return undefined
  const options = ['--extra-experimental-features', 'nix-command', '--json', '--all', '--closure-size']
  const text = readOutput('nix', ['path-info', ...options], { timeout: 60_000 })
  if (!text) return undefined
  const parsed = JSON.parse(text)
  // Nix wrote an array at first, since 2.19 an object by path.
  const infos = Array.isArray(parsed) ? parsed : Object.entries(parsed).map(([path, info]) => ({ ...info, path }))
  const fitting = infos.filter(info => info.closureSize <= SEED_LIMIT && isTree(info.path))
  return fitting.sort((a, b) => b.closureSize - a.closureSize)[0]?.path
}

function isTree(path) {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

async function printExamples(mountpoint, storeOptions) {
  const { folder, file, program } = await findExamples(storeOptions)
  if (!folder) return
  const at = path => quote(join(mountpoint, path))
  say('in another terminal:')
  for (const line of [
    `ls -lR ${at(folder)} | head -n 20`,
    file ? `sha256sum ${at(file)}` : `stat ${at(folder)}`,
    program ? `${at(program)} --version` : `find ${at(folder)} -type f | wc -l`,
  ]) {
    process.stderr.write(`  ${line}\n`)
  }
  say('Ctrl-C unmounts')
}

/** A folder, a file and a program of the store, by paths below the mount point; what there is none of is undefined. */
async function findExamples(storeOptions) {
  let best = {}
  const folders = listPaths(storeOptions).filter(entry => entry.type === 'directory')
  for (const { name: folder } of folders.slice(0, 8)) {
    const files = listPaths(storeOptions, '-R', folder).filter(entry => entry.type === 'regular')
    const file = files.find(entry => entry.size > 0)
    const program = await findProgram(folder, files, storeOptions)
    const found = {
      folder,
      file: file && join(folder, file.path),
      program: program && join(folder, program),
    }
    if (program) return found
    if (!best.file) best = found
  }
  return best
}

/** The path of a program that runs from any mount point, best one without libraries. Looks at few candidates only. */
async function findProgram(folder, files, storeOptions) {
  const candidates = files.filter(entry => entry.executable && entry.size > 10_000 && !/\.[a-z]+$/.test(entry.name))
  let second
  for (const { path } of candidates.sort((a, b) => b.size - a.size).slice(0, 3)) {
    const loader = loaderOf(await readStart(`${folder}/${path}`, storeOptions))
    if (loader === '') return path
    if (loader && existsSync(loader)) second ??= path
  }
  return second
}

/** The first 4 KiB of a file in the store. */
function readStart(path, storeOptions) {
  return new Promise(resolve => {
    const child = spawn(process.execPath, [cliProgram, 'cat', path, ...storeOptions], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const chunks = []
    child.stdout.on('data', chunk => {
      chunks.push(chunk)
      if (Buffer.concat(chunks).length >= 4096) child.kill()
    })
    child.on('error', () => {})
    child.on('close', () => resolve(Buffer.concat(chunks)))
  })
}

/**
 * elf(5): the loader (PT_INTERP) that a 64-bit little-endian program asks for, '' if it is statically linked, undefined
 * if it is no such program.
 */
function loaderOf(start) {
  if (start.length < 64 || start.readUInt32BE(0) !== 0x7f454c46 || start[4] !== 2 || start[5] !== 1) return undefined
  if (![2, 3].includes(start.readUInt16LE(16))) return undefined
  const table = Number(start.readBigUInt64LE(32))
  const size = start.readUInt16LE(54)
  const count = start.readUInt16LE(56)
  if (table + size * count > start.length) return undefined
  for (let at = table; at < table + size * count; at += size) {
    if (start.readUInt32LE(at) !== 3) continue
    const offset = Number(start.readBigUInt64LE(at + 8))
    const length = Number(start.readBigUInt64LE(at + 32))
    return start.toString('latin1', offset, offset + length - 1)
  }
  return ''
}

function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
