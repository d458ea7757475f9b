import { IntegrityError } from '../errors.ts'
import type { Trust } from '../index/types.ts'
import { narHashText } from '../nix/hash.ts'
import type { ValidPath } from '../nix/local-store.ts'
import { fullPath, makeSourcePath, nameOf, parseCa, pathFromCa } from '../nix/store-path.ts'

/**
 * Who vouches for a path: every way into the store asks here, and what is not vouched for is refused.
 * A path's trust rises only by new evidence.
 */

/** A path that the local Nix database has, its NAR hashed here. Throws IntegrityError where the hashes differ. */
export function trustValidPath(valid: ValidPath, narHash: Uint8Array): Trust {
  if (!valid.narHash.equals(narHash)) {
    throw new IntegrityError(
      `${fullPath(valid.baseName)}: its bytes have narHash ${narHashText(narHash)}, but the Nix database says ${narHashText(valid.narHash)}; repair it with nix-store --repair-path`,
    )
  }
  return isContentAddressed(valid, narHash) ? 'content' : 'local'
}

/** True where the path's own name follows from its NAR: a recursive sha256 content address. */
function isContentAddressed(valid: ValidPath, narHash: Uint8Array): boolean {
  const ca = valid.ca === undefined ? undefined : parseCa(valid.ca)
  if (ca === undefined || ca.method !== 'recursive' || ca.algorithm !== 'sha256' || !ca.digest.equals(narHash))
    return false
  const others = valid.references.filter(reference => reference !== valid.baseName)
  return pathFromCa(ca, nameOf(valid.baseName), others, others.length < valid.references.length) === valid.baseName
}

/** The base name that `nix store add-path` gives a file or folder of this NAR. */
export function contentAddress(name: string, narHash: Uint8Array): string {
  return makeSourcePath({ name, narHash, references: [], selfReference: false })
}
