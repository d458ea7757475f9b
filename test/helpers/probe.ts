import { buildHelper } from './compile.ts'

/** Compiles probe.c, which says what the program does, as file `probe` of `folder`, mode 0755, and gives its path. */
export function buildProbe(folder: string): Promise<string> {
  return buildHelper(folder, 'probe')
}
