import { cleanSettings, cliProgram, output } from '../test/helpers/run.ts'

/** What `add --json` says of a path. */
export interface AddedPath {
  path: string
  root: string
  narHash: string
  narSize: number
}

/** Arguments of Node for `nix-ipfs-mount add`. */
export function addArguments(state: string, file: string): string[] {
  return [cliProgram, 'add', '--json', '--blocks', 'local', '--state', state, file]
}

/** Throws an Error where the line is not that of one new path. */
export function parseAdded(stdout: string): AddedPath {
  const { path, root, narHash, narSize, new: isNew } = JSON.parse(stdout) as AddedPath & { new: boolean }
  if (isNew !== true) throw new Error(`${path}: was not new`)
  return { path, root, narHash, narSize }
}

export async function addPath(state: string, file: string): Promise<AddedPath> {
  const stdout = await output(process.execPath, addArguments(state, file), { env: cleanSettings(), timeout: 600_000 })
  return parseAdded(stdout.toString())
}

/** Reads everything back and hashes it. Throws an Error where anything is missing or damaged. */
export async function verifyState(state: string): Promise<void> {
  await output(process.execPath, [cliProgram, 'verify', '--state', state], { env: cleanSettings(), timeout: 600_000 })
}
