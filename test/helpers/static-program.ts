import { join } from 'node:path'
import { output } from './run.ts'

const SOURCE = `
#include <stdio.h>
int main(int argc, char **argv) {
  printf("static");
  for (int i = 1; i < argc; i++) printf(" %s", argv[i]);
  printf("\\n");
  return 42;
}
`

/**
 * Compiles a program that needs no library, mode 0755, as file `name` of `folder`, and gives its path: it runs from
 * wherever it lies. It prints `static` and its arguments on one line and exits with status 42.
 */
export async function staticProgram(folder: string, name = 'static'): Promise<string> {
  const file = join(folder, name)
  await output('gcc', ['-static', '-O1', '-x', 'c', '-o', file, '-'], { input: SOURCE })
  return file
}
