import { statSync } from 'node:fs'
import { RefusedError } from '../errors.ts'
import { overlaysAbove } from '../fs/mountinfo.ts'
import { askAll } from './running-mounts.ts'

/**
 * For what takes a path away: an overlay that lies above a running mount of this state never looks up anew what it
 * knows, so that a name that goes from below it is ESTALE there from then on. Throws RefusedError.
 */
export async function refuseBelowOverlay(state: string, path: string): Promise<void> {
  for (const mount of await askAll('status')) {
    const [overlay] = isSameFolder(mount.state, state) ? overlaysAbove(mount.mountpoint) : []
    if (overlay !== undefined) {
      throw new RefusedError(
        `${path}: the overlay on ${overlay} lies above ${mount.mountpoint}, which shows it; unmount the overlay first, or use --force`,
      )
    }
  }
}

function isSameFolder(one: string, other: string): boolean {
  const [a, b] = [one, other].map(folder => statSync(folder, { throwIfNoEntry: false }))
  return a !== undefined && a.ino === b?.ino && a.dev === b.dev
}
