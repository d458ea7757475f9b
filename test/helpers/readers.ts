import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import { setTimeout as startTimer } from 'node:timers'
import { setTimeout } from 'node:timers/promises'
import { onCleanup, type TestScope } from './cleanup.ts'
import { stopProcess } from './run.ts'

const PATIENCE_MS = 60_000
const STOP_MS = 5000

/** What the readers have seen since the last time that they were asked. */
export interface Seen {
  operations: number
  bytes: number
  /** System calls that failed. */
  failures: number
  /** Bytes that were wrong, and sizes and listings. */
  wrong: number
  /** Seconds of a system call: of the middle one, of the one above 99.9 % of them, and of the longest. */
  median: number
  high: number
  longest: number
  /** Which one was the longest. */
  call: string
}

export interface ReadersOptions {
  /** The program that readers.c was compiled into. */
  program: string
  threads: number
  /** Folder with the originals. */
  originals: string
  /** The same tree in a mount. */
  mounted: string
  /** File with names of folders to look up. */
  folders?: string | undefined
}

/** The readers of readers.c, which read until the scope ends. */
export class Readers {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #lines: Interface
  #stderr = ''

  constructor(scope: TestScope, { program, threads, originals, mounted, folders }: ReadersOptions) {
    const more = folders === undefined ? [] : [folders]
    const args = ['--pdeathsig', 'KILL', program, `${threads}`, originals, mounted, ...more]
    this.#child = spawn('setpriv', args, { stdio: 'pipe' })
    this.#lines = createInterface({ input: this.#child.stdout })
    this.#child.stderr.on('data', chunk => {
      this.#stderr += chunk
    })
    // It may have ended by itself, which `seen` reports.
    this.#child.stdin.on('error', () => {})
    this.#child.once('error', error => {
      this.#stderr += error.message
    })
    // A call that nobody answers keeps it alive until the mount goes, which may be after this.
    onCleanup(scope, () =>
      Promise.race([stopProcess(this.#child, 'SIGKILL'), setTimeout(STOP_MS, undefined, { ref: false })]),
    )
  }

  /** What happened since the last call. Throws an Error where the readers have ended. */
  seen(): Promise<Seen> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`the readers ${why}: ${this.#stderr.trim()}`))
      const timer = startTimer(() => fail(`say nothing for ${PATIENCE_MS} ms`), PATIENCE_MS)
      const onEnd = () => {
        clearTimeout(timer)
        fail('have ended')
      }
      this.#lines.once('close', onEnd)
      this.#lines.once('line', line => {
        clearTimeout(timer)
        this.#lines.off('close', onEnd)
        try {
          resolve(parse(line))
        } catch (error) {
          reject(error)
        }
      })
      this.#child.stdin.write('\n')
    })
  }

  /** What they have said of failures. */
  complaints(): string {
    return this.#stderr.trim()
  }
}

function parse(line: string): Seen {
  const words = line.split(' ')
  const call = words.pop()!
  const [operations, bytes, failures, wrong, median, high, longest] = words.map(Number)
  if (longest === undefined || !words.every(word => Number.isFinite(Number(word)))) {
    throw new Error(`the readers say ${JSON.stringify(line)}`)
  }
  return {
    operations: operations!,
    bytes: bytes!,
    failures: failures!,
    wrong: wrong!,
    median: median!,
    high: high!,
    longest,
    call,
  }
}

/** Two stretches as one; median and high are those of the second. */
export function together(first: Seen, second: Seen): Seen {
  return {
    ...second,
    operations: first.operations + second.operations,
    bytes: first.bytes + second.bytes,
    failures: first.failures + second.failures,
    wrong: first.wrong + second.wrong,
    ...(first.longest > second.longest ? { longest: first.longest, call: first.call } : {}),
  }
}
