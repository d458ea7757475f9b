import { spawn } from 'node:child_process'
import { FormatError, MissingToolError, systemCode, UnknownPathError } from '../errors.ts'
import { parsePathInfo, type ValidPath } from './path-info.ts'
import { fullPath, parseStorePath } from './store-path.ts'

export { parsePathInfo, type ValidPath } from './path-info.ts'

/** Paths named to one nix process: some 100 KiB of arguments, of the 2 MiB that Linux gives. */
const PATHS_PER_QUERY = 1000

/**
 * What the local Nix says of these valid paths (full paths or base names), and with `closure` of everything that they
 * refer to: each once, references before referrers. The environment decides which store is asked (NIX_REMOTE).
 * @throws UnknownPathError for a path that is not valid there; MissingToolError if there is no Nix, or it cannot be
 *   asked; FormatError if its answer is not understood
 */
export async function queryValidPaths(
  paths: readonly string[],
  { closure }: { closure: boolean },
): Promise<ValidPath[]> {
  const wanted = new Set(paths.map(toBaseName))
  const isDerivation = (baseName: string) => baseName.endsWith('.drv')
  // To Nix before 2.15, a derivation's path means its outputs, and --derivation the path itself.
  const queries = [
    ...chunks([...wanted].filter(isDerivation)).map(chunk => ({ chunk, flags: ['--derivation'] })),
    ...chunks([...wanted].filter(baseName => !isDerivation(baseName))).map(chunk => ({ chunk, flags: [] })),
  ]
  const found = new Map<string, ValidPath>()
  for (const { chunk, flags } of queries) {
    for (const valid of await queryChunk(chunk, [...flags, ...(closure ? ['--recursive'] : [])])) {
      found.set(valid.baseName, valid)
    }
    for (const baseName of chunk) if (!found.has(baseName)) throw notValid(fullPath(baseName))
  }
  return referencesFirst(wanted, found)
}

function toBaseName(path: string): string {
  const baseName = parseStorePath(path)
  if (baseName === undefined) throw new UnknownPathError(`${JSON.stringify(path)} is not a store path`)
  return baseName
}

function chunks<T>(all: readonly T[]): T[][] {
  const count = Math.ceil(all.length / PATHS_PER_QUERY)
  return Array.from({ length: count }, (_, i) => all.slice(i * PATHS_PER_QUERY, (i + 1) * PATHS_PER_QUERY))
}

async function queryChunk(baseNames: readonly string[], flags: readonly string[]): Promise<ValidPath[]> {
  const ask = (...more: string[]) => nixPathInfo([...more, ...flags, '--', ...baseNames.map(fullPath)])
  let answer = await ask()
  // Nix 2.33 and newer want to be told which format; one day they will insist. Older ones do not know the option.
  if (answer.code !== 0 && answer.stderr.includes('--json-format')) answer = await ask('--json-format', '2')
  if (answer.code !== 0) throw failure(answer.stderr)
  return parsePathInfo(parseJson(answer.stdout))
}

interface Answer {
  /** Exit status; null if a signal ended it. */
  code: number | null
  stdout: string
  stderr: string
}

function nixPathInfo(args: readonly string[]): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const command = ['--extra-experimental-features', 'nix-command', 'path-info', '--json', ...args]
    const child = spawn('nix', command, { stdio: ['ignore', 'pipe', 'pipe'] })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout.on('data', chunk => stdout.push(chunk))
    child.stderr.on('data', chunk => stderr.push(chunk))
    child.once('error', cause => {
      const why =
        systemCode(cause) === 'ENOENT'
          ? 'nix is not installed (package nix-bin on Debian)'
          : `nix cannot be started (${systemCode(cause) ?? cause.message})`
      reject(new MissingToolError(`${why}; it is needed to look up store paths`, { cause }))
    })
    child.once('close', code => {
      resolve({ code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() })
    })
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new FormatError('nix path-info --json printed something that is not JSON', { cause })
  }
}

function failure(stderr: string): UnknownPathError | MissingToolError {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: Nix colours its errors where it is told to
  const lines = stderr.replace(/\x1b\[[0-9;]*m/g, '').split('\n')
  const told = lines.map(line => line.trim()).filter(line => line !== '')
  const last = told.findLast(line => line.startsWith('error:')) ?? told.at(-1) ?? 'it says nothing'
  const unknown = /path '([^']*)' (is not valid|is not a valid store path|does not exist)/.exec(last)
  if (unknown !== null) return notValid(unknown[1]!)
  return new MissingToolError(`nix cannot look up store paths: ${last.replace(/^error:\s*/, '')}`)
}

function notValid(path: string): UnknownPathError {
  return new UnknownPathError(`${path}: is not a valid path of the local Nix store`)
}

/** Every path after those it refers to; otherwise in the order wanted. A store has no cycles of several paths. */
function referencesFirst(wanted: Iterable<string>, found: ReadonlyMap<string, ValidPath>): ValidPath[] {
  const ordered: ValidPath[] = []
  const seen = new Set<string>()
  // A stack of its own: closures can be deeper than the call stack.
  const stack: { valid: ValidPath; next: number }[] = []
  const visit = (baseName: string) => {
    const valid = found.get(baseName)
    if (valid === undefined || seen.has(baseName)) return
    seen.add(baseName)
    stack.push({ valid, next: 0 })
  }
  for (const baseName of [...wanted, ...found.keys()]) {
    visit(baseName)
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const reference = top.valid.references[top.next++]
      if (reference !== undefined) visit(reference)
      else ordered.push(stack.pop()!.valid)
    }
  }
  return ordered
}
