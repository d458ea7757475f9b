import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { output } from '../test/helpers/run.ts'

/** A command that was run: seconds of wall clock, and of processor in user mode and in the kernel. */
export interface Timed {
  wall: number
  user: number
  system: number
  stdout: string
}

/** Compiles bench/<name>.c into the folder; the program. */
export async function compileC(name: string, folder: string): Promise<string> {
  const program = join(folder, name)
  const source = fileURLToPath(new URL(`../../bench/${name}.c`, import.meta.url))
  await output('gcc', ['-O2', '-Wall', '-pthread', '-o', program, source])
  return program
}

/** The measuring client of micro.c. */
export class Micro {
  readonly #program: string

  private constructor(program: string) {
    this.#program = program
  }

  /** Compiles it into the folder. */
  static async compile(folder: string): Promise<Micro> {
    return new Micro(await compileC('micro', folder))
  }

  /** Seconds of each of `passes` passes of an operation over the same files. */
  async passes(
    operation: 'stat' | 'open-read' | 'sequential' | 'folders',
    passes: number,
    ...args: (string | number)[]
  ): Promise<number[]> {
    const { numbers } = await this.#measure([operation, `${passes}`, ...args.map(String)])
    return numbers
  }

  /** Runs a command to its end. Throws an Error where it fails. */
  async run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Timed> {
    const { numbers, stdout } = await this.#measure(['run', command, ...args], env)
    return { wall: numbers[0]!, user: numbers[1]!, system: numbers[2]!, stdout }
  }

  /** Runs a command to its end and gives the most anonymous memory that it was seen with, in bytes. */
  async memory(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<number> {
    const { numbers } = await this.#measure(['memory', command, ...args], env)
    if (!(numbers[0]! > 0)) throw new Error(`${command}: its memory was not seen`)
    return numbers[0]!
  }

  async #measure(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ numbers: number[]; stdout: string }> {
    const child = spawn(this.#program, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    })
    const exited = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    const [stdout, stderr, line, status] = await Promise.all([
      text(child.stdout!),
      text(child.stderr!),
      text(child.stdio[3] as Readable),
      exited,
    ])
    if (status !== 0) throw new Error(`${args.join(' ')}: failed (status ${status}): ${stderr.trim()}`)
    const numbers = line.trim().split(' ').map(Number)
    if (line === '' || !numbers.every(Number.isFinite)) throw new Error(`${args.join(' ')}: no result`)
    return { numbers, stdout }
  }
}

async function text(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** Waits until nothing is left to be written to the disk, so that nobody pays for what was done before. */
export async function settle(): Promise<void> {
  await output('sync', [])
}

/** Makes the kernel forget file contents, folders and attributes. Needs root. */
export async function dropCaches(): Promise<void> {
  await settle()
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}

/** A list turned so that a round begins with each element in turn: nobody always goes first. */
export function rotated<T>(list: readonly T[], round: number): T[] {
  const start = round % list.length
  return [...list.slice(start), ...list.slice(0, start)]
}
