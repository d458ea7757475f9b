import { mkdirSync, statSync } from 'node:fs'
import { StateError, systemCode } from '../errors.ts'
import { type Logger, stderrLogger } from '../log.ts'
import { giveStateTo } from '../store/state-owner.ts'
import type { Config } from './config.ts'
import { becomeIdentity, type Identity, serverIdentity, withIdentity } from './identity.ts'

/**
 * Who may open the state, as {@link serverIdentity} says; the state folder is made theirs first. To be called by root
 * before anything in the state is touched; does nothing for others.
 * @throws UsageError, StateError
 */
export function stateIdentity(config: Config, log: Logger = stderrLogger(config.verbose)): Identity | undefined {
  if (process.getuid?.() !== 0) return undefined
  const identity = serverIdentity(config, log)
  if (identity !== undefined) {
    checkWay(identity, config.state)
    withIdentity(identity, () => makeWhereAllowed(config.state))
  }
  const owner = identity ?? { name: 'root', uid: 0, gid: 0 }
  if (giveStateTo(owner, config.state))
    log.info(`${config.state}: root's state was handed over to ${owner.name}, as whom root's commands run`)
  // Folders above it may have been made just now, with root's umask.
  if (identity !== undefined) checkWay(identity, config.state)
  return identity
}

/** A command that needs nobody else's files: as root it becomes, for good, who may open the state. */
export function becomeStateUser(config: Config): void {
  const identity = stateIdentity(config)
  if (identity !== undefined) becomeIdentity(identity)
}

/** In a folder of their own a user needs no root, who would have to trust that folder. */
function makeWhereAllowed(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
  } catch {
    // Then root makes it, or says why not.
  }
}

/** The folder is or will be theirs, but those above it may be closed to them, such as /root. */
function checkWay(identity: Identity, folder: string): void {
  if (withIdentity(identity, () => isClosed(folder)))
    throw new StateError(
      `${folder}: the user ${identity.name} may not go there; name another folder with --state, or use --user root`,
    )
}

/** Whatever else is wrong with it is said by whoever opens it. */
function isClosed(path: string): boolean {
  try {
    statSync(path)
    return false
  } catch (error) {
    return systemCode(error) === 'EACCES'
  }
}
