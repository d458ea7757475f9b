import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { onCleanup, type TestScope } from '../helpers/cleanup.ts'
import { cleanSettings, cliProgram, type RunResult } from '../helpers/run.ts'

/** The program while it runs. */
export interface Running {
  readonly child: ChildProcessWithoutNullStreams
  /** How it ended. */
  readonly ended: Promise<RunResult>
}

/** Starts `nix-ipfs-mount <args>`; its standard input stays open. It is killed should the test end before it. */
export function start(t: TestScope, args: readonly string[]): Running {
  const child = spawn(process.execPath, [cliProgram, ...args], { env: { ...process.env, ...cleanSettings() } })
  const stdout: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', chunk => stdout.push(chunk))
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  child.stdin.on('error', () => {})
  const ended = new Promise<RunResult>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, stdout: Buffer.concat(stdout), stderr }))
  })
  onCleanup(t, async () => {
    child.kill('SIGKILL')
    await ended
  })
  return { child, ended }
}

/** True while the process has the file open. */
export function hasOpen(pid: number, file: string): boolean {
  const folder = `/proc/${pid}/fd`
  try {
    return readdirSync(folder).some(fd => linkOf(`${folder}/${fd}`) === file)
  } catch {
    return false
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

/** RssAnon of a process in bytes; 0 once it is gone. proc_pid_status(5). */
export function anonymousBytes(pid: number): number {
  try {
    const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
    return Number(kilobytes ?? 0) * 1024
  } catch {
    return 0
  }
}

/** Makes `folder`, and in it folders called `name` in each other, `depth` of them with `folder` itself. */
export function makeNested(folder: string, name: string, depth: number): void {
  mkdirSync(folder)
  let fd = openSync(folder, 'r')
  for (let i = 1; i < depth; i++) {
    // The kernel takes no path of more than 4,095 bytes.
    const next = `/proc/self/fd/${fd}/${name}`
    mkdirSync(next)
    const inner = openSync(next, 'r')
    closeSync(fd)
    fd = inner
  }
  closeSync(fd)
}
