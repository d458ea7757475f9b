import { KERNEL } from './drivers.ts'
import { FIND, GREP, LIST, OPEN_READ, operations, STAT, TAR } from './read-operations.ts'
import { mountName, NATIVE } from './read-subjects.ts'
import { medianSeconds, ratioOf } from './statistics.ts'
import type { Goal, Measurement } from './types.ts'

/** Bounds of the design: time of the kernel driver against others. */
const COLD_TO_FUSE = 1
const WARM_TO_FUSE = 1.05
const TO_NATIVE: readonly [operation: string, limit: number][] = [
  [`${STAT}, warm`, 1.6],
  [`${OPEN_READ}, warm`, 1.6],
  [`${LIST}, cold`, 1],
  ...[FIND, GREP, TAR].flatMap((name): [string, number][] => [
    [`${name}, cold`, 1],
    [`${name}, warm`, 1.1],
  ]),
]

const OURS = mountName(KERNEL)

/** What the design asks of the kernel driver. `fuseRows` are all mounts, ours too. */
export function readGoals(measurements: readonly Measurement[], fuseRows: readonly string[]): Goal[] {
  const of = (operation: string, subject: string) =>
    measurements.find(entry => entry.operation === operation && entry.subject === subject)
  const against = (operation: string, subject: string, limit: number, name = subject): Goal => {
    const [ours, base] = [of(operation, OURS), of(operation, subject)]
    const value = ours && base && ratioOf(ours, base)
    return { what: `${operation}: time of ${OURS}, ${name} = 1`, unit: 'ratio', value, limit }
  }
  const toFuse = (operation: string, limit: number) => {
    const seconds = (subject: string) => medianSeconds(of(operation, subject)!.rounds)
    const measured = fuseRows.filter(subject => subject !== OURS && of(operation, subject) !== undefined)
    const [best] = measured.sort((a, b) => seconds(a) - seconds(b))
    if (best === undefined) return against(operation, 'the best other FUSE row', limit)
    return against(operation, best, limit, `${best} (the best other FUSE row)`)
  }
  return [
    ...operations.map(({ name }) => toFuse(`${name}, just started`, COLD_TO_FUSE)),
    ...operations.map(({ name }) => toFuse(`${name}, cold`, COLD_TO_FUSE)),
    ...operations.map(({ name }) => toFuse(`${name}, warm`, WARM_TO_FUSE)),
    ...TO_NATIVE.map(([operation, limit]) => against(operation, NATIVE, limit)),
  ]
}

/** No message on a second pass. `messages`: of the worst round, FORGET left out, by operation. */
export function messageGoals(messages: ReadonlyMap<string, number>): Goal[] {
  return operations.map(({ name }) => ({
    what: `${name}: messages of a warm pass but FORGET, ${OURS}`,
    unit: 'count',
    value: messages.get(name),
    limit: 0,
  }))
}
