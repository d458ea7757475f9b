import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Micro } from './measure.ts'
import type { Trees } from './read-subjects.ts'
import type { Unit } from './types.ts'

export const FILES = 2000
export const FILE_BYTES = 4096
export const LARGE_MIB = 64
const LARGE_BYTES = LARGE_MIB * 2 ** 20

/** Of the tree of small files. */
export const HEADERS = 8000

/** In bytes that look random, three given ones come together every 16 MiB: some files match, and most do not. */
const NEEDLE = 'nix'

export interface Operation {
  name: string
  tree: keyof Trees
  amount: number
  unit: Unit
  /** Brings the programs into memory, so that only the tree is cold. `sample` comes from {@link makeSample}. */
  warmUp(micro: Micro, sample: string): Promise<unknown>
  /** Does it `count` times in a row. */
  passes(micro: Micro, folder: string, count: number): Promise<Passes>
}

export interface Passes {
  /** Of each pass. */
  seconds: number[]
  /** What was found: the same for whoever shows the same tree. */
  found: string
}

/** Of who shows the tree: started anew, nothing cached; the caches of the kernel dropped while it serves; after that. */
export const STATES = ['just started', 'cold', 'warm'] as const
export type State = (typeof STATES)[number]

export const STAT = 'stat'
export const OPEN_READ = 'open + read 4 KiB'
export const LIST = `ls -l of ${FILES}`
export const FIND = 'find'
export const GREP = 'grep -r'
export const TAR = 'tar'

export const operations: Operation[] = [
  micro('stat', { name: STAT, amount: FILES, unit: 'microseconds each' }, 'd', FILES, FILE_BYTES),
  micro('open-read', { name: OPEN_READ, amount: FILES, unit: 'microseconds each' }, 'd', FILES, FILE_BYTES),
  micro('sequential', { name: `sequential ${LARGE_MIB} MiB`, amount: LARGE_BYTES, unit: 'MB/s' }, 'big', LARGE_BYTES),
  command(LIST, 'files', folder => ({
    command: ['ls', '-l', join(folder, 'd')],
    found: lines => `${lines.length} lines`,
  })),
  command(FIND, 'headers', folder => ({ command: ['find', folder], found: names(folder) })),
  command(GREP, 'headers', folder => ({
    command: ['grep', '-r', '-a', '-l', '-F', NEEDLE, folder],
    found: names(folder),
  })),
  // Through a pipe: tar notices /dev/null and reads nothing.
  command(TAR, 'headers', folder => ({
    command: ['bash', '-o', 'pipefail', '-c', 'tar -cf - -C "$0" . | wc -c', folder],
    found: ([bytes]) => `${bytes} bytes`,
  })),
]

/** A folder in which each command has something to do. */
export function makeSample(folder: string): void {
  mkdirSync(join(folder, 'd'), { recursive: true })
  writeFileSync(join(folder, 'd', 'file'), NEEDLE)
}

/** What the measuring client does on `place` of the tree; it looks itself at what it finds. */
function micro(
  operation: 'stat' | 'open-read' | 'sequential',
  what: Pick<Operation, 'name' | 'amount' | 'unit'>,
  place: string,
  ...args: number[]
): Operation {
  return {
    ...what,
    tree: 'files',
    warmUp: (micro, sample) => micro.passes('stat', 1, sample, 0, 0),
    passes: async (micro, folder, count) => ({
      seconds: await micro.passes(operation, count, join(folder, place), ...args),
      found: 'as it should be',
    }),
  }
}

interface Command {
  command: [string, ...string[]]
  /** From the lines of its output. */
  found(lines: string[]): string
}

function command(name: string, tree: keyof Trees, make: (folder: string) => Command): Operation {
  const passes = async (micro: Micro, folder: string, count: number) => {
    const { command, found } = make(folder)
    const [program, ...args] = command
    const seconds: number[] = []
    const finds = new Set<string>()
    for (let i = 0; i < count; i++) {
      const { wall, stdout } = await micro.run(program, args, { LC_ALL: 'C' })
      seconds.push(wall)
      finds.add(found(stdout.trimEnd().split('\n')))
    }
    return { seconds, found: [...finds].join(' and then ') }
  }
  return { name, tree, amount: 1, unit: 'seconds', warmUp: (micro, sample) => passes(micro, sample, 1), passes }
}

/** The paths below the folder, whatever their order. */
function names(folder: string): (lines: string[]) => string {
  return lines =>
    lines
      .map(line => line.slice(folder.length))
      .sort()
      .join('\n')
}
