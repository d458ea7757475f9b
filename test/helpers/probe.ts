import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { output } from './run.ts'

const SOURCES = ['probe.c', 'probe-listing.c', 'probe-reading.c']

/** Compiles probe.c, which says what the program does, as file `probe` of `folder`, mode 0755, and gives its path. */
export function buildProbe(folder: string): Promise<string> {
  return compile('probe', folder, ['-static', '-O1', '-Wall', '-Werror'], SOURCES)
}

/** The same with readers.c. */
export function buildReaders(folder: string): Promise<string> {
  return compile('readers', folder, ['-O2', '-Wall', '-pthread'], ['readers.c'])
}

async function compile(name: string, folder: string, options: readonly string[], sources: readonly string[]) {
  const file = join(folder, name)
  await output('gcc', [...options, '-o', file, ...sources.map(helperSource)])
  return file
}

/** tsc leaves C files where they are: below the folder with package.json, of which this file's folder is a copy. */
export function helperSource(name: string): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    const source = join(folder, 'test', 'helpers', name)
    if (existsSync(source)) return source
  }
  throw new Error(`there is no test/helpers/${name} above the compiled tests`)
}
