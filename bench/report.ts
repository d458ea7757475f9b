import { median, medianSeconds, ratioOf } from './statistics.ts'
import type { Fact, Figure, Goal, Measurement, Results, SuiteResult, Unit } from './types.ts'

/** results.json as a page of Markdown. */
export function markdown(results: Results, date: string): string {
  const parts = results.suites.map(suiteMarkdown)
  return [
    `# Benchmark of ${date}`,
    'Made by `npm run bench`; bench/README.md says what is measured and how. Medians of all rounds, in brackets the least and the most; results.json has every round.',
    ...parts,
    '![Time against the baseline](plot.svg)',
    '',
  ].join('\n\n')
}

function suiteMarkdown(suite: SuiteResult): string {
  const { machine, input } = suite
  const versions = Object.entries(machine.versions).map(([program, version]) => `${program} ${version}`)
  const about = [
    `${machine.cores} × ${machine.processor}, ${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB`,
    `Linux ${machine.kernel}, ${machine.filesystem}`,
    `Node ${machine.node}`,
    ...versions,
    `load ${machine.load.map(load => load.toFixed(1)).join(' to ')}`,
  ]
  const inputs = Object.entries(input).map(([name, value]) => `${name}: ${value}`)
  const sections = [`## ${suite.title}`, `${about.join('; ')}.`, `Input: ${inputs.join('; ')}.`]
  if (suite.measurements.length > 0) {
    sections.push(`Ratios are of time, to ${suite.baseline}: below 1 is faster.`, timesTable(suite))
  }
  if (suite.goals.length > 0) sections.push(table(['goal', 'measured', 'at most', 'reached'], suite.goals.map(goalRow)))
  if (suite.facts.length > 0) sections.push(table(['also', 'measured'], suite.facts.map(factRow)))
  return sections.join('\n\n')
}

function timesTable({ measurements, baseline }: SuiteResult): string {
  const subjects = [...new Set(measurements.map(({ subject }) => subject))]
  const operations = [...new Set(measurements.map(({ operation }) => operation))]
  const others = subjects.filter(subject => subject !== baseline)
  const rows = operations.map(operation => {
    const entries = measurements.filter(entry => entry.operation === operation)
    const of = (subject: string) => entries.find(entry => entry.subject === subject)
    const base = of(baseline)!
    const ratios = others.map(subject => {
      const entry = of(subject)
      return entry === undefined ? '' : ratioOf(entry, base).toFixed(2)
    })
    return [
      operation,
      unitOf(base.unit),
      `${base.rounds.length}`,
      ...subjects.map(subject => cell(of(subject))),
      ...ratios,
    ]
  })
  return table(['', 'unit', 'rounds', ...subjects, ...others.map(subject => `ratio of ${subject}`)], rows)
}

function cell(measurement: Measurement | undefined): string {
  if (measurement === undefined) return ''
  const values = measurement.rounds.map(({ seconds }) => inUnit(measurement, seconds))
  return `${digits(median(values))} (${digits(Math.min(...values))} to ${digits(Math.max(...values))})`
}

function unitOf(unit: Unit): string {
  return { 'microseconds each': 'µs each', 'MB/s': 'MB/s', seconds: 's' }[unit]
}

function inUnit({ unit, amount }: Measurement, seconds: number): number {
  switch (unit) {
    case 'microseconds each':
      return (seconds / amount) * 1e6
    case 'MB/s':
      return amount / seconds / 1e6
    case 'seconds':
      return seconds / amount
  }
}

/** Three digits that count. */
function digits(value: number): string {
  if (value >= 100) return value.toFixed(0)
  if (value >= 1) return value.toFixed(value >= 10 ? 1 : 2)
  return value >= 0.01 ? value.toFixed(3) : value.toPrecision(2)
}

function goalRow(goal: Goal): string[] {
  const { what, unit, value, limit } = goal
  const measured = value === undefined ? 'not measured' : amount(value, unit)
  return [what, measured, amount(limit, unit), isReached(goal) ? 'yes' : '**no**']
}

function isReached({ value, limit }: Goal): boolean {
  return value !== undefined && value <= limit
}

function factRow(fact: Fact): string[] {
  return [fact.what, fact.unit === 'text' ? fact.value : amount(fact.value, fact.unit)]
}

function amount(value: number, unit: Figure): string {
  switch (unit) {
    case 'ratio':
      return value.toFixed(2)
    case 'bytes':
      return `${(value / 1e6).toFixed(1)} MB`
    case 'bytes an entry':
      return `${value.toFixed(0)} ${unit}`
    case 'seconds':
      return `${digits(value)} s`
    case 'count':
      return `${value}`
  }
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

/** One line a measurement, goal and fact, for the terminal. */
export function summary({ measurements, goals, facts, baseline }: SuiteResult): string[] {
  const lines = measurements.map(entry => {
    const base = measurements.find(other => other.operation === entry.operation && other.subject === baseline)!
    const value = `${digits(inUnit(entry, medianSeconds(entry.rounds)))} ${unitOf(entry.unit)}`
    const ratio = entry === base ? '' : `  ${ratioOf(entry, base).toFixed(2)} × the time of ${baseline}`
    return `${entry.operation.padEnd(28)} ${entry.subject.padEnd(24)} ${value.padStart(14)}${ratio}`
  })
  return [
    ...lines,
    ...goals.map(goal => `${isReached(goal) ? 'reached' : 'MISSED '} ${goalRow(goal).slice(0, 3).join(' | ')}`),
    ...facts.map(fact => `also    ${factRow(fact).join(' | ')}`),
  ]
}
