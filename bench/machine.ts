import { cpus, loadavg, release, totalmem } from 'node:os'
import { cli, output, run } from '../test/helpers/run.ts'
import type { Machine } from './types.ts'

/** Facts of the machine that explain the figures, and none that name it. `folder` is where the work is done. */
export async function describeMachine(folder: string, versions: Record<string, string>): Promise<Machine> {
  const [load = 0] = loadavg()
  return {
    kernel: release(),
    node: process.version,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    filesystem: await filesystemOf(folder),
    load: [load, load],
    versions: { 'nix-ipfs-mount': (await cli(['--version'])).stdout.toString().trim(), ...versions },
  }
}

/** To be called at the end of a suite. */
export function endLoad(machine: Machine): void {
  machine.load[1] = loadavg()[0] ?? 0
}

/** Throws where the folder is in memory: durable means nothing there, and native reads are no file system's. */
async function filesystemOf(folder: string): Promise<string> {
  const type = (await output('findmnt', ['-n', '-o', 'FSTYPE', '-T', folder])).toString().trim()
  if (/^(tmpfs|ramfs)$/.test(type)) throw new Error('the temporary folder is in memory: set TMPDIR to one on a disk')
  return type
}

/** What `<command> --version` and the like print, without the program's name. Some print it and fail. */
export async function versionOf(command: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await run(command, args)
  const version = /[0-9]+\.[0-9]+(\.[0-9]+)?/.exec(`${stdout}${stderr}`)?.[0]
  if (version === undefined) throw new Error(`${command} ${args.join(' ')}: says no version`)
  return version
}
