// What the scripts share. They run before anything is installed, so they import nothing but Node's own modules.
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { constants as osConstants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The checkout. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

export const cliProgram = join(root, 'dist', 'src', 'cli', 'main.js')

const parent = process.ppid

/** A failure that one line explains. */
export class SetupError extends Error {}

/** Results go to stdout, what the scripts do to stderr. */
export function say(line) {
  process.stderr.write(`nix-ipfs-mount: ${line}\n`)
}

/** Runs a script's main function: its failures are one line and exit status 1. */
export async function main(work) {
  try {
    process.exitCode = await work()
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    say(error.message)
    process.exitCode = 1
  }
}

/** The path of a command, or undefined. The sbin folders count: a user's PATH often lacks them. */
export function findCommand(name) {
  const folders = [...(process.env.PATH || '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin']
  for (const folder of folders) {
    const path = join(folder || '.', name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not in this folder.
    }
  }
  return undefined
}

/** Runs a command to its end with its output on stderr. Throws a SetupError if it fails. */
export function runStep(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options })
  if (result.error) throw new SetupError(`cannot run ${command}: ${result.error.message}`)
  if (result.status === 0) return
  throw new SetupError(`${command} ${args.join(' ')} failed (${result.signal || `status ${result.status}`})`)
}

/** The trimmed stdout of a command, or undefined where it is missing or fails. */
export function readOutput(command, args, options = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    stdio: ['ignore', 'pipe', 'ignore'],
    ...options,
  })
  return result.status === 0 ? result.stdout.trim() : undefined
}

/**
 * Runs a command in the foreground, passes SIGINT, SIGTERM and SIGHUP on to it, and resolves with its exit status
 * (128 + n if signal n ended it, as shells do). `onLine` sees each line of its stdout, which is printed as well. When
 * our parent is gone, the command is ended too: npm passes a signal to its shell, which dies without telling us.
 */
export function runForeground(command, args, { onLine, ...options } = {}) {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
  return new Promise((resolve, reject) => {
    const stdout = onLine ? 'pipe' : 'inherit'
    const child = spawn(command, args, { cwd: root, stdio: ['inherit', stdout, 'inherit'], ...options })
    const forward = signal => child.kill(signal)
    for (const signal of signals) process.on(signal, forward)
    const watch = setInterval(() => {
      if (process.ppid === parent) return
      clearInterval(watch)
      forward('SIGTERM')
    }, 500)
    if (onLine) eachLine(child.stdout, onLine)
    child.once('error', error => {
      clearInterval(watch)
      reject(new SetupError(`cannot run ${command}: ${error.message}`))
    })
    child.once('close', (status, signal) => {
      clearInterval(watch)
      for (const name of signals) process.off(name, forward)
      resolve(status ?? 128 + osConstants.signals[signal])
    })
  })
}

function eachLine(stream, onLine) {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', text => {
    process.stdout.write(text)
    const lines = (rest + text).split('\n')
    rest = lines.pop()
    for (const line of lines) onLine(line)
  })
}
