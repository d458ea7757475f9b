import type { Measurement, Round } from './types.ts'

/** The middle value, or the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('no values')
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function medianSeconds(rounds: readonly Round[]): number {
  return median(rounds.map(({ seconds }) => seconds))
}

/** Time that the subject takes for each second of the baseline. */
export function ratioOf(measurement: Measurement, baseline: Measurement): number {
  return medianSeconds(measurement.rounds) / medianSeconds(baseline.rounds)
}

/** The same for every round by itself. */
export function roundRatios(measurement: Measurement, baseline: Measurement): number[] {
  return measurement.rounds.map(({ seconds }, i) => seconds / baseline.rounds[i]!.seconds)
}

/** The measurement of an operation. Throws where there is none. */
export function find(measurements: readonly Measurement[], operation: string, subject: string): Measurement {
  const found = measurements.find(entry => entry.operation === operation && entry.subject === subject)
  if (found === undefined) throw new RangeError(`no measurement of ${operation} by ${subject}`)
  return found
}
