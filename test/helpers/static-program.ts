import { join } from 'node:path'
import { output } from './run.ts'

const SOURCE = `
#include <stdio.h>
#include <string.h>
#ifdef CARGO
__asm__(".section .rodata\\n.global cargo, cargo_end\\ncargo: .incbin \\"" CARGO "\\"\\ncargo_end: .byte 0\\n.previous");
extern const unsigned char cargo[], cargo_end[];
#endif
int main(int argc, char **argv) {
#ifdef CARGO
  if (argc > 1 && strcmp(argv[1], "sum") == 0) {
    unsigned long sum = 0;
    for (const unsigned char *at = cargo; at < cargo_end; at++) sum += *at;
    printf("%lu\\n", sum);
    return 0;
  }
#endif
  printf("static");
  for (int i = 1; i < argc; i++) printf(" %s", argv[i]);
  printf("\\n");
  return 42;
}
`

/**
 * Compiles a program that needs no library, mode 0755, as file `name` of `folder`, and gives its path: it runs from
 * wherever it lies. It prints `static` and its arguments on one line and exits with status 42. With a file as `cargo` it
 * has that in its read-only data and prints the sum of its bytes when the argument is `sum`.
 */
export async function staticProgram(folder: string, name = 'static', cargo?: string): Promise<string> {
  const file = join(folder, name)
  const define = cargo === undefined ? [] : [`-DCARGO="${cargo}"`]
  await output('gcc', ['-static', '-O1', ...define, '-x', 'c', '-o', file, '-'], { input: SOURCE })
  return file
}
