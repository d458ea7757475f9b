import type { Fact } from './types.ts'

/** Why something could not be measured, as a line of the table. */
export function failureFact(what: string, error: unknown): Fact {
  const why = error instanceof Error ? error.message : `${error}`
  return { what, unit: 'text', value: why.replaceAll(/\s+/g, ' ').trim() }
}
