import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { helperSource } from './probe.ts'
import { seededRandom } from './random-tree.ts'
import { cli, output, type RunResult } from './run.ts'

/** Runs of the program that end by SIGKILL at one system call, and half done: crash-point.c says at which. */
export interface CrashPoints {
  /** Runs the program undisturbed; the kinds of its calls, a letter each. */
  trace(args: readonly string[]): Promise<string>
  /** Runs it up to the point; true where it was killed, false where it ended well before that. */
  run(args: readonly string[], point: CrashPoint): Promise<boolean>
}

/** A system call. */
export interface CrashPoint {
  /** Its number, from 1. */
  at: number
  /** How much of it is still done, 0 to 100. */
  share: number
}

/** Compiles the library into `folder`. */
export async function crashPoints(folder: string): Promise<CrashPoints> {
  const library = join(folder, 'crash-point.so')
  await output('gcc', ['-shared', '-fPIC', '-O1', '-o', library, helperSource('crash-point.c'), '-ldl'])
  let traces = 0
  const start = (args: readonly string[], env: NodeJS.ProcessEnv): Promise<RunResult> =>
    cli(args, { env: { LD_PRELOAD: library, ...env } })
  return {
    trace: async args => {
      const file = join(folder, `trace-${traces++}`)
      const { code, stderr } = await start(args, { CRASH_TRACE: file })
      assert.equal(code, 0, stderr)
      assert.ok(existsSync(file), 'the library was loaded')
      return readFileSync(file, 'latin1')
    },
    run: async (args, { at, share }) => {
      const { code, signal, stderr } = await start(args, { CRASH_AT: `${at}`, CRASH_SHARE: `${share}` })
      assert.ok(signal === 'SIGKILL' || code === 0, stderr)
      return signal === 'SIGKILL'
    },
  }
}

/**
 * `count` points of a trace, spread by the seed: two thirds of them at the rare calls, which make things durable and
 * visible, as far as there are so many, and the others at those that move the bytes; more than once where calls are few.
 */
export function choosePoints(trace: string, count: number, seed: number): CrashPoint[] {
  const random = seededRandom(seed)
  const calls = [...trace].map((kind, i) => ({ rare: kind === 's' || kind === 'i', at: i + 1, order: random() }))
  calls.sort((a, b) => a.order - b.order)
  const rare = calls.filter(({ rare }) => rare).slice(0, Math.ceil((2 * count) / 3))
  const others = calls.filter(({ rare }) => !rare).slice(0, count - rare.length)
  const chosen = [...rare, ...others]
  const points = Array.from({ length: count }, (_, i) => {
    // All of it and nothing of it are as likely as any part.
    const share = Math.min(100, Math.max(0, Math.round(200 * random() - 50)))
    return { at: chosen[i % chosen.length]!.at, share }
  })
  return points.sort((a, b) => a.at - b.at)
}
