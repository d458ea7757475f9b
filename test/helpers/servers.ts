import { readdirSync, readFileSync } from 'node:fs'
import { onCleanup, type TestScope } from './cleanup.ts'
import { isMounted, unmountLazily } from './temp.ts'

/** Processes that run the command line program with this argument, also in other mount namespaces; of one parent. */
export function serversOf(argument: string, parent?: number): number[] {
  return processes(
    (words, pid) =>
      words.some(word => word.endsWith('/src/cli/main.js')) &&
      words.includes(argument) &&
      (parent === undefined || parentOf(pid) === parent),
  )
}

/** The shells that wait to unmount this folder when its supervisor is killed. */
export function reapersOf(folder: string): number[] {
  return processes(words => words[0] === '/bin/sh' && words.includes(folder) && words[2]?.includes('umount') === true)
}

function processes(match: (words: string[], pid: number) => boolean): number[] {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name)) return []
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
      return match(words, Number(name)) ? [Number(name)] : []
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}

function parentOf(pid: number): number {
  return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])
}

/** Ends after the test what runs in the background with this argument, and whatever is mounted on `folder`. */
export function endServers(t: TestScope, argument: string, folder = argument): void {
  onCleanup(t, () => {
    for (const pid of serversOf(argument)) process.kill(pid, 'SIGKILL')
    if (isMounted(folder)) unmountLazily(folder)
  })
}
