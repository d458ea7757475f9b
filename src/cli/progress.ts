import type { WalkProgress } from '../store/folder.ts'

const INTERVAL_MS = 100

/** Between two plain lines. */
const LINE_INTERVAL_MS = 30_000

/** Shows how far a walk is: a bar on a terminal, plain lines now and then elsewhere. Returns what ends it. */
export async function showProgress(progress: WalkProgress, { enabled }: { enabled: boolean }): Promise<() => void> {
  if (!enabled) return () => {}
  if (!process.stderr.isTTY) return printLines(progress)
  // Only a terminal pays for the time that it takes to load.
  const { SingleBar } = await import('cli-progress')
  const bar = new SingleBar({
    format: 'adding {value} files and folders, {megabytes} MB, {duration_formatted}',
    stream: process.stderr,
    clearOnComplete: true,
    hideCursor: false,
    // Total is not known before the last folder was read.
    noTTYOutput: false,
  })
  bar.start(0, 0, { megabytes: 0 })
  const timer = setInterval(
    () => bar.update(progress.entries, { megabytes: Math.round(progress.bytes / 1e6) }),
    INTERVAL_MS,
  )
  return () => {
    clearInterval(timer)
    bar.stop()
  }
}

function printLines(progress: WalkProgress): () => void {
  const print = () =>
    process.stderr.write(`adding: ${progress.entries} files and folders, ${Math.round(progress.bytes / 1e6)} MB\n`)
  const timer = setInterval(print, LINE_INTERVAL_MS)
  return () => clearInterval(timer)
}
