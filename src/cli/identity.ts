import { spawnSync } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { StateError, systemCode, UsageError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Config } from './config.ts'

/** A user of this machine other than root. */
export interface Identity {
  name: string
  uid: number
  /** Of the user's own group. */
  gid: number
  home: string
}

/** Whom root's commands run as where nobody else is named. */
export const DEFAULT_USER = 'nix-ipfs-mount'

let toldWhy = false

/**
 * Who parses foreign bytes and the state, and owns it: the user that is named, or the default user. Undefined where
 * nothing is to be dropped: we are not root, root is named, or the default user does not exist or cannot read this
 * program, which the log says once.
 * @throws UsageError where a user who is named does not exist; StateError where it cannot read this program
 */
export function serverIdentity({ user }: Pick<Config, 'user'>, log: Logger): Identity | undefined {
  if (process.getuid?.() !== 0) return undefined
  const identity = findUser(user ?? DEFAULT_USER)
  if (identity?.uid === 0) return undefined
  const why = identity === undefined ? 'does not exist' : obstacleOf(identity)
  if (why === undefined) return identity
  if (user !== undefined && identity === undefined) throw new UsageError(`--user ${user}: there is no such user`)
  if (user !== undefined) throw new StateError(`--user ${user}: this user ${why}; name another, or root`)
  if (!toldWhy) {
    const next = identity === undefined ? `make it with useradd --system ${DEFAULT_USER}, or ` : ''
    log.warn(`running as root: the user ${DEFAULT_USER} ${why}; ${next}say --user root`)
  }
  toldWhy = true
  return undefined
}

/** By name or by number. getent(1) also asks where users are that are not in /etc/passwd, such as LDAP. */
function findUser(user: string): Identity | undefined {
  const { status, stdout } = spawnSync('getent', ['passwd', '--', user], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const lines = (status === null ? readFileSync('/etc/passwd', 'utf8') : stdout).split('\n')
  for (const line of lines) {
    // passwd(5)
    const [name = '', , uid, gid, , home = ''] = line.split(':')
    if (name !== '' && (name === user || uid === user)) return { name, uid: Number(uid), gid: Number(gid), home }
  }
  return undefined
}

/** Why we could not run as this user; undefined where we can. */
function obstacleOf(identity: Identity): string | undefined {
  const files = [process.execPath, process.argv[1]!]
  try {
    const closed = withIdentity(identity, () => files.find(file => !canOpen(file)))
    return closed === undefined ? undefined : `cannot read ${closed}`
  } catch (error) {
    if (!(error instanceof StateError)) throw error
    // As in a user namespace that knows root alone.
    return `cannot be taken here (${systemCode(error.cause)})`
  }
}

function canOpen(file: string): boolean {
  try {
    closeSync(openSync(file, 'r'))
    return true
  } catch {
    return false
  }
}

/**
 * The command that runs the command behind it as this user: without any capability, in this and every program that it
 * starts, or with the right to read everybody's files as the only one.
 */
export function asIdentity(
  identity: Identity,
  { readOthers = false, dieWithUs = true }: { readOthers?: boolean; dieWithUs?: boolean } = {},
): string[] {
  const capabilities = readOthers ? '-all,+dac_read_search' : '-all'
  return [
    'setpriv',
    `--reuid=${identity.uid}`,
    `--regid=${identity.gid}`,
    '--init-groups',
    '--no-new-privs',
    `--inh-caps=${capabilities}`,
    `--ambient-caps=${capabilities}`,
    `--bounding-set=${capabilities}`,
    ...(dieWithUs ? ['--pdeathsig=KILL'] : []),
    '--',
  ]
}

/**
 * Does something as this user and becomes root again: files that it makes are the user's, and it goes nowhere where
 * the user may not go. All threads change, so nothing else may be going on. It protects against what lies in a
 * folder of the user's, not against code of theirs.
 * @throws StateError where we cannot become that user
 */
export function withIdentity<T>(identity: Identity | undefined, work: () => T): T {
  if (identity === undefined) return work()
  const groups = process.getgroups!()
  const gid = process.getegid!()
  try {
    changeTo(identity, () => {
      process.setegid!(identity.gid)
      process.seteuid!(identity.uid)
    })
    return work()
  } finally {
    process.seteuid!(0)
    process.setegid!(gid)
    // Not where it may not be done, and so was not done.
    if (process.getgroups!().join() !== groups.join()) process.setgroups!(groups)
  }
}

/** Becomes this user for good. Throws StateError. */
export function becomeIdentity(identity: Identity): void {
  changeTo(identity, () => {
    process.setgid!(identity.gid)
    process.setuid!(identity.uid)
  })
}

/** Node has it, its types do not. */
function initgroups(user: string, group: number): void {
  ;(process as unknown as { initgroups(user: string, group: number): void }).initgroups(user, group)
}

function changeTo({ name, gid }: Identity, change: () => void): void {
  try {
    initgroups(name, gid)
    change()
  } catch (cause) {
    throw new StateError(
      `cannot become the user ${name} (${systemCode(cause) ?? cause}); use --user root to stay root`,
      {
        cause,
      },
    )
  }
}
