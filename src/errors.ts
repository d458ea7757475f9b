/**
 * Every error this program throws on purpose. `code` is stable and is what callers test; `message` is the
 * one line a user sees after `nix-ipfs-mount: `, so it says what failed, on which path or CID, and what to do.
 */
export abstract class NixIpfsError extends Error {
  abstract readonly code: string
  override get name(): string {
    return this.constructor.name
  }
}

/** Wrong arguments or configuration: exit code 2. */
export class UsageError extends NixIpfsError {
  readonly code = 'ERR_USAGE'
}

/** Bytes that are not of the format they claim to be (NAR, dag-pb, UnixFS, narinfo, record). */
export class FormatError extends NixIpfsError {
  readonly code = 'ERR_FORMAT'
}

/** Well-formed bytes that do not have the hash they should have. */
export class IntegrityError extends NixIpfsError {
  readonly code = 'ERR_INTEGRITY'
}

/** Input that Nix cannot represent, or that this program refuses on purpose. */
export class RefusedError extends NixIpfsError {
  readonly code = 'ERR_REFUSED'
}

/** A file or folder that changed while it was being read. */
export class ChangedError extends NixIpfsError {
  readonly code = 'ERR_CHANGED'
}

/** A store path, or a name below one, that is not known here. */
export class UnknownPathError extends NixIpfsError {
  readonly code = 'ERR_UNKNOWN_PATH'
}

/** A block that is neither here nor at any source. */
export class MissingBlockError extends NixIpfsError {
  readonly code = 'ERR_MISSING_BLOCK'
}

/** A block store or source outside this program that cannot be reached, refuses, or is not what it should be. */
export class BlockStoreError extends NixIpfsError {
  readonly code = 'ERR_BLOCK_STORE'
}

/** Something in our own state folder whose checksum does not match, or that contradicts itself. */
export class DamagedError extends NixIpfsError {
  readonly code = 'ERR_DAMAGED'
}

/** A state folder that cannot be used: read-only, full, of a newer version, or not ours. */
export class StateError extends NixIpfsError {
  readonly code = 'ERR_STATE'
}

/** A mount that cannot be made or taken down. */
export class MountError extends NixIpfsError {
  readonly code = 'ERR_MOUNT'
}

/** A program or library this machine lacks; the message names the package. */
export class MissingToolError extends NixIpfsError {
  readonly code = 'ERR_MISSING_TOOL'
}

/** The system error code (`ENOENT`, `ENOSPC`, ...) of an error thrown by Node, if it has one. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}
