import { SingleBar } from 'cli-progress'
import type { WalkProgress } from '../store/folder.ts'

const INTERVAL_MS = 100

/** Shows on a terminal how far a walk is; elsewhere nothing. Returns what ends it. */
export function showProgress(progress: WalkProgress, { enabled }: { enabled: boolean }): () => void {
  if (!enabled || !process.stderr.isTTY) return () => {}
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
