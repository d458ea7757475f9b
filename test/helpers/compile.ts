import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { helperSource } from './probe.ts'
import { output } from './run.ts'

/** Compiles a program in C that needs no library at run time, mode 0755, as `file`, and gives its path. */
export async function compile(source: string, file: string): Promise<string> {
  await output('gcc', ['-static', '-O1', '-x', 'c', '-o', file, '-'], { input: source })
  return file
}

/** Compiles test/helpers/<name>.c, which says what the program does, as file `name` of `folder`, and gives its path. */
export function buildHelper(folder: string, name: string): Promise<string> {
  return compile(readFileSync(helperSource(`${name}.c`), 'utf8'), join(folder, name))
}
