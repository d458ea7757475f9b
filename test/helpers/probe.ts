import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { output } from './run.ts'

const SOURCES = ['probe.c', 'probe-listing.c', 'probe-reading.c']

/** Compiles probe.c, which says what the program does, as file `probe` of `folder`, mode 0755, and gives its path. */
export async function buildProbe(folder: string): Promise<string> {
  const file = join(folder, 'probe')
  const sources = SOURCES.map(name => join(sourceFolder(), name))
  await output('gcc', ['-static', '-O1', '-Wall', '-Werror', '-o', file, ...sources])
  return file
}

/** tsc leaves the C files where they are: below the folder with package.json, of which this file's folder is a copy. */
function sourceFolder(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    const sources = join(folder, 'test', 'helpers')
    if (existsSync(join(sources, 'probe.c'))) return sources
  }
  throw new Error('there is no test/helpers/probe.c above the compiled tests')
}
