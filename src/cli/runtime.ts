import { join } from 'node:path'

const NAME = 'nix-ipfs-mount'

/**
 * Where the sockets of this user's mounts are: of root in /run, of others where their session keeps such things;
 * undefined for who has no session.
 */
export function runtimeFolder({ XDG_RUNTIME_DIR }: NodeJS.ProcessEnv): string | undefined {
  if (process.getuid?.() === 0) return join('/run', NAME)
  return XDG_RUNTIME_DIR?.startsWith('/') ? join(XDG_RUNTIME_DIR, NAME) : undefined
}
