import { readdirSync, readFileSync } from 'node:fs'
import { onCleanup, type TestScope } from './cleanup.ts'
import { isMounted, unmountLazily } from './temp.ts'

/** Processes that run the command line program with this argument, also in other mount namespaces. */
export function serversOf(argument: string): number[] {
  return readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name)) return []
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
      const ours = words.some(word => word.endsWith('/src/cli/main.js'))
      return ours && words.includes(argument) ? [Number(name)] : []
    } catch {
      // It has ended meanwhile.
      return []
    }
  })
}

/** Ends after the test what runs in the background with this argument, and whatever is mounted on `folder`. */
export function endServers(t: TestScope, argument: string, folder = argument): void {
  onCleanup(t, () => {
    for (const pid of serversOf(argument)) process.kill(pid, 'SIGKILL')
    if (isMounted(folder)) unmountLazily(folder)
  })
}
