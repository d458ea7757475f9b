import { spawnSync } from 'node:child_process'
import { chmodSync, lstatSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onCleanup, type TestScope } from './cleanup.ts'

/**
 * An empty folder for one test, removed afterwards together with whatever is in it: trees without write permission
 * (Nix store paths have none) and mounts that a failed test left behind. Its path has no symbolic links.
 */
export function tempFolder(t: TestScope, label = 'test'): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), `nix-ipfs-mount-${label}-`)))
  // mkdtemp makes it private, but tests also run programs as other users.
  chmodSync(folder, 0o755)
  onCleanup(t, () => removeTree(folder))
  return folder
}

/** Removes a tree, after a lazy unmount of everything mounted in it. An absent one is no error. */
export function removeTree(folder: string): void {
  for (const mount of mountsBelow(folder)) unmountLazily(mount)
  try {
    rmSync(folder, { recursive: true, force: true })
  } catch {
    // Only a user other than root needs the permission to write into what is removed.
    makeWritable(folder)
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Mount points at `folder` and below it, the latest first. Reads the mount table, so a dead mount cannot block it. */
export function mountsBelow(folder: string): string[] {
  const found: string[] = []
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    // mountinfo(5): the fifth field, with space, tab, newline and backslash as octal escapes.
    const escaped = line.split(' ')[4]
    if (escaped === undefined) continue
    const path = escaped.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
    if (path === folder || path.startsWith(`${folder}/`)) found.push(path)
  }
  return found.reverse()
}

export function isMounted(folder: string): boolean {
  return mountsBelow(folder).includes(folder)
}

/** Detaches a mount even if it is busy or dead: as root with umount, else with what libfuse brings. */
export function unmountLazily(mount: string): void {
  const tries = [
    ['umount', '-l', mount],
    ['fusermount3', '-u', '-z', mount],
    ['fusermount', '-u', '-z', mount],
  ] as const
  const said: string[] = []
  for (const [command, ...args] of tries) {
    const result = spawnSync(command, args, { encoding: 'utf8', timeout: 10_000 })
    if (result.status === 0) return
    said.push(result.error?.message ?? result.stderr.trim())
  }
  throw new Error(`cannot unmount ${mount}: ${said.join('; ')}`)
}

function makeWritable(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat?.isDirectory()) return
  chmodSync(path, 0o700)
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) makeWritable(join(path, entry.name))
  }
}
