import { output } from './run.ts'

const SOURCE = `
#include <stdio.h>
__asm__(".section .rodata\\n.global cargo, cargo_end\\ncargo: .incbin \\"" CARGO "\\"\\ncargo_end: .byte 0\\n.previous");
extern const unsigned char cargo[], cargo_end[];
int main(int argc, char **argv) {
  unsigned long sum = 0;
  if (argc == 1) return 42;
  for (const unsigned char *at = cargo; at < cargo_end; at++) sum += *at;
  printf("%lu\\n", sum);
  return 0;
}
`

/**
 * Compiles a program that needs no library as `file`, mode 0755, with the contents of the file `cargo` in its read-only
 * data. It exits with status 42; with any argument it prints the sum of those bytes, and exits with status 0.
 */
export async function cargoProgram(file: string, cargo: string): Promise<void> {
  await output('gcc', ['-static', '-O1', `-DCARGO="${cargo}"`, '-x', 'c', '-o', file, '-'], { input: SOURCE })
}
