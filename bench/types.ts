import type { TestScope } from '../test/helpers/cleanup.ts'

/**
 * What a run of the benchmark leaves in results.json. All times are seconds of wall clock, all sizes bytes; tables and
 * the plot are made from this file and nothing else.
 */
export interface Results {
  format: 'nix-ipfs-mount-bench'
  version: 1
  suites: SuiteResult[]
}

export interface SuiteResult {
  suite: string
  /** One line for the table's heading. */
  title: string
  /** ISO 8601, of the start. */
  time: string
  machine: Machine
  /** What the inputs were made from: seeds, numbers, sizes. */
  input: Record<string, number | string>
  /** The subject that the others are compared with; every operation has it. */
  baseline: string
  measurements: Measurement[]
  /** Sizes and the like, which have no baseline. */
  facts: Fact[]
  goals: Goal[]
}

export interface Machine {
  kernel: string
  node: string
  processor: string
  cores: number
  memoryBytes: number
  /** Where the benchmark worked, such as `ext4`. */
  filesystem: string
  /** Load average of one minute, at the start and at the end. */
  load: [number, number]
  /** Of the programs that were measured. */
  versions: Record<string, string>
}

/** One operation of one subject. */
export interface Measurement {
  operation: string
  subject: string
  /** How many things one round does, or how many bytes it moves: what the seconds are divided by. */
  amount: number
  unit: Unit
  /** One a round, in the order of the rounds; the same index is the same round for every subject. */
  rounds: Round[]
}

export type Unit = 'microseconds each' | 'MB/s' | 'seconds'

export interface Round {
  seconds: number
  /** What the seconds consist of, and what came with them. */
  parts?: Record<string, number>
}

/** Something that was measured, or happened, without a subject to compare it with. */
export type Fact = { what: string; unit: Figure; value: number } | { what: string; unit: 'text'; value: string }

export type Figure = 'bytes' | 'bytes an entry' | 'ratio' | 'seconds' | 'count'

/** A figure that the project's design asks for. */
export interface Goal {
  what: string
  unit: Figure
  /** Undefined where nothing could be measured: then it is missed, too. */
  value: number | undefined
  /** `value` must not be above it. */
  limit: number
}

export interface Suite {
  name: string
  /** Fewest rounds that a figure may rest on. */
  rounds: number
  run(options: SuiteOptions): Promise<SuiteResult>
}

export interface SuiteOptions {
  scope: TestScope
  /** Undefined for the suite's own number of rounds. */
  rounds: number | undefined
  /** Says what is going on. */
  say(line: string): void
}
