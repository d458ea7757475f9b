import type { ArgumentsCamelCase, Argv } from 'yargs'
import { textToBytes } from '../bytes.ts'
import { UsageError } from '../errors.ts'
import { isBaseName, isHashPart, parseStorePath, STORE_DIR } from '../nix/store-path.ts'
import { type Config, type GlobalArguments, readConfig } from './config.ts'

/** The configuration of the command that these arguments were given to. Throws UsageError. */
export function configOf(argv: ArgumentsCamelCase<GlobalArguments>): Readonly<Config> {
  return readConfig(argv, process.env)
}

/** A `<store path>[/sub]` argument in its two parts. */
export interface PathArgument {
  /** Full path, base name or hash part. */
  path: string
  /** Names below it. */
  names: Buffer[]
}

/** Takes apart `<full path, base name or hash part>[/sub]`. Throws UsageError. */
export function parsePathArgument(text: string): PathArgument {
  const inStore = text.startsWith(`${STORE_DIR}/`)
  const [first = '', ...rest] = (inStore ? text.slice(STORE_DIR.length + 1) : text).split('/')
  if (!isBaseName(first) && !isHashPart(first)) {
    throw new UsageError(`${JSON.stringify(text)} is not a store path (full path, base name or hash part)`)
  }
  const names = rest.filter(name => name !== '')
  if (names.some(name => name === '.' || name === '..')) throw new UsageError(`${text}: . and .. are not followed`)
  return { path: first, names: names.map(textToBytes) }
}

/** Checks that each argument has the form of a store path. Throws UsageError. */
export function checkPathArguments(paths: readonly string[]): void {
  for (const path of paths) {
    if (parseStorePath(path) === undefined && !isHashPart(path)) {
      throw new UsageError(`${JSON.stringify(path)} is not a store path (full path, base name or hash part)`)
    }
  }
}

/** The positional that several commands share. */
export function storePaths<T>(yargs: Argv<T>) {
  return yargs.positional('path', {
    type: 'string',
    array: true,
    demandOption: true,
    describe: 'Store path: full path, base name or hash part',
  })
}
