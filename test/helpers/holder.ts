import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { onCleanup, type TestScope } from './cleanup.ts'
import { stopProcess } from './run.ts'

/** A process that keeps a file open and has its working folder in the mount. */
export interface Holder {
  /** Reads the whole file again: the number of bytes as text, or the errno's name. */
  read(): Promise<string>
  close(): Promise<void>
}

/** Starts `probe hold`; it is ended after the test. */
export async function holdOpen(t: TestScope, probe: string, file: string, folder: string): Promise<Holder> {
  const child: ChildProcess = spawn(probe, ['hold', file, folder], { stdio: ['pipe', 'pipe', 'inherit'] })
  onCleanup(t, () => stopProcess(child, 'SIGKILL'))
  const lines = createInterface({ input: child.stdout! })
  const line = async (): Promise<string> => {
    const [said] = await once(lines, 'line', { signal: AbortSignal.timeout(30_000) })
    return said as string
  }
  const held = await line()
  if (held !== 'held') throw new Error(`probe hold ${file} said ${held}`)
  return {
    read: () => {
      const said = line()
      child.stdin!.write('\n')
      return said
    },
    close: () => stopProcess(child, 'SIGKILL'),
  }
}
