import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { failoverSuite } from './failover.ts'
import { importSuite } from './import.ts'
import { plotSvg } from './plot.ts'
import { readSuite } from './read.ts'
import { markdown, summary } from './report.ts'
import { scaleSuite } from './scale.ts'
import { closeAll, withScope } from './scope.ts'
import type { Results, Suite, SuiteResult } from './types.ts'

const suites: Suite[] = [readSuite, importSuite, failoverSuite, scaleSuite]

const USAGE = `usage: npm run bench -- <suite>… [--date YYYY-MM-DD] [--rounds N]
suites: ${suites.map(({ name }) => name).join(', ')}, all
Results go to bench/results/<date>/. Fewer rounds than a suite's own are for trying it out.`

class BenchError extends Error {}

function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`)
}

/** Runs what is named and writes the results after each suite, so that a later failure loses nothing. */
async function main(args: string[]): Promise<void> {
  const { wanted, date, rounds } = parse(args)
  const folder = fileURLToPath(new URL(`../../bench/results/${date}/`, import.meta.url))
  for (const suite of wanted) {
    say(`${suite.name}: begins`)
    const result = await withScope(scope => suite.run({ scope, rounds, say }))
    await write(folder, date, result)
    for (const line of summary(result)) process.stdout.write(`${line}\n`)
  }
  say(`results are in bench/results/${date}`)
}

function parse(args: string[]): { wanted: Suite[]; date: string; rounds: number | undefined } {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { date: { type: 'string' }, rounds: { type: 'string' } },
    })
    const date = values.date ?? new Date().toISOString().slice(0, 10)
    if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(date)) throw new BenchError(`--date ${date}: is not YYYY-MM-DD`)
    const rounds = values.rounds === undefined ? undefined : Number(values.rounds)
    if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) {
      throw new BenchError(`--rounds ${values.rounds}: is not a number of rounds`)
    }
    if (positionals.length === 0) throw new BenchError('no suite is named')
    const unknown = positionals.find(name => name !== 'all' && !suites.some(suite => suite.name === name))
    if (unknown !== undefined) throw new BenchError(`${unknown}: there is no such suite`)
    const wanted = suites.filter(({ name }) => positionals.includes('all') || positionals.includes(name))
    return { wanted, date, rounds }
  } catch (error) {
    throw new BenchError(`${(error as Error).message}\n${USAGE}`)
  }
}

/** Replaces the suite in the results of that date, and makes table and plot of all of them. */
async function write(folder: string, date: string, result: SuiteResult): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'results.json')
  const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results).suites : []
  const all = [...known.filter(({ suite }) => suite !== result.suite), result]
  const order = (suite: string) => suites.findIndex(({ name }) => name === suite)
  all.sort((a, b) => order(a.suite) - order(b.suite))
  const results: Results = { format: 'nix-ipfs-mount-bench', version: 1, suites: all }
  replace(file, `${JSON.stringify(results, undefined, 2)}\n`)
  replace(join(folder, 'table.md'), markdown(results, date))
  replace(join(folder, 'plot.svg'), `${await plotSvg(results)}\n`)
}

function replace(file: string, text: string): void {
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    closeAll().finally(() => process.exit(128 + constants.signals[signal]))
  })
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  say(error instanceof BenchError ? error.message : `${(error as Error).stack}`)
  process.exitCode = error instanceof BenchError ? 2 : 1
}
