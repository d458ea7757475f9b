import { parse, View } from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import { find, ratioOf, roundRatios } from './statistics.ts'
import type { Results, SuiteResult } from './types.ts'

const WIDTH = 420
const BAR_STEP = 16

/**
 * A bar for each operation and subject: its time against the baseline's in medians, on a logarithmic scale, and a dot
 * for every round. Left of the line is faster than the baseline.
 */
export async function plotSvg(results: Results): Promise<string> {
  const spec: TopLevelSpec = {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    padding: 12,
    config: { axis: { labelLimit: 260 }, legend: { labelLimit: 260 }, header: { labelLimit: 260 } },
    resolve: { scale: { color: 'independent', x: 'independent', y: 'independent', yOffset: 'independent' } },
    vconcat: results.suites.filter(({ measurements }) => measurements.length > 0).map(suiteSpec),
  }
  return await new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG()
}

function suiteSpec(suite: SuiteResult) {
  const { measurements, baseline } = suite
  const others = measurements.filter(({ subject }) => subject !== baseline)
  const bars = others.map(entry => ({
    operation: entry.operation,
    subject: entry.subject,
    ratio: ratioOf(entry, find(measurements, entry.operation, baseline)),
  }))
  const dots = others.flatMap(entry =>
    roundRatios(entry, find(measurements, entry.operation, baseline)).map(ratio => ({
      operation: entry.operation,
      subject: entry.subject,
      ratio,
    })),
  )
  const operations = [...new Set(others.map(({ operation }) => operation))]
  const subjects = [...new Set(others.map(({ subject }) => subject))]
  const rounds = Math.min(...measurements.map(entry => entry.rounds.length))
  const y = { field: 'operation', type: 'nominal', sort: operations, title: null } as const
  const yOffset = { field: 'subject', type: 'nominal', sort: subjects } as const
  const color = { field: 'subject', type: 'nominal', sort: subjects, title: null } as const
  // Bars begin at the baseline itself, which is what they are compared with.
  const x = {
    field: 'ratio',
    type: 'quantitative',
    scale: { type: 'log' },
    title: `time, ${baseline} = 1 (logarithmic; median and each of at least ${rounds} rounds)`,
  } as const
  return {
    title: suite.title,
    width: WIDTH,
    height: { step: BAR_STEP },
    layer: [
      {
        data: { values: bars },
        mark: { type: 'bar' as const },
        encoding: { y, yOffset, x, x2: { datum: 1 }, color },
      },
      {
        data: { values: dots },
        mark: { type: 'point' as const, color: 'black', opacity: 0.6, size: 12, filled: true },
        encoding: { y, yOffset, x },
      },
      { data: { values: [{ ratio: 1 }] }, mark: { type: 'rule' as const }, encoding: { x } },
    ],
  }
}
