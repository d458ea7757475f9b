import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { MissingToolError, MountError, systemCode, UnknownPathError } from '../errors.ts'
import { STORE_DIR } from '../nix/store-path.ts'
import { leaveSignalsTo } from './signals.ts'

/**
 * Runs a program that sees the store at /nix/store, it and its children alone: unshare(1) makes a mount namespace
 * (for others than root in a user namespace, where the kernel allows it), in it an overlay joins the mount and the
 * host's own store, and the program takes the place of the shell that did so.
 */

/**
 * $1 is the mount, $2 the store directory, $3 what runs the program, the rest the program. Until the program starts,
 * messages go to descriptor 2, which is a pipe; the program's own is 3. Words on 4 say how far it came.
 * An overlay of one layer needs no overlay.
 */
const SCRIPT = `
set -e
mount="$1"; store="$2"; wrapper="$3"; shift 3
if [ -n "$(ls -A "$store")" ]; then
  mount -t overlay -o "ro,lowerdir=$mount:$store" overlay "$store"
else
  mount --bind "$mount" "$store"
fi
echo mounted >&4
case "$1" in
  */*)
    if [ ! -e "$1" ]; then echo "there is no such file, in the store or on this machine" >&2; exit 1; fi
    if [ ! -f "$1" ]; then echo "is not a program" >&2; exit 1; fi
    if [ ! -x "$1" ]; then echo "is not executable" >&2; exit 1; fi ;;
  *)
    if ! command -v "$1" >/dev/null; then echo "there is no such program in PATH" >&2; exit 1; fi ;;
esac
echo found >&4
exec $wrapper "$@" 2>&3 3>&- 4>&-
`

/** Without us the program's files are gone, so it goes too. */
const WITH_US = 'setpriv --pdeathsig KILL'
/** In a user namespace mounting takes capabilities that the program must not have. */
const WITHOUT_CAPABILITIES = '--inh-caps=-all --ambient-caps=-all'

export interface NamespaceOptions {
  /** Where the store is mounted now; without colons and commas, which mean something in an overlay's options. */
  mountpoint: string
  program: string
  args: readonly string[]
}

/** How a program ended: by itself or by a signal. */
export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
}

/** Runs the program to its end, its standard streams ours. Throws MountError, UnknownPathError, MissingToolError. */
export async function runInNamespace({ mountpoint, program, args }: NamespaceOptions): Promise<Ended> {
  if (!existsSync(STORE_DIR)) {
    throw new MountError(
      `${STORE_DIR} does not exist, and programs look for the store there; make it, as root: mkdir -p ${STORE_DIR}`,
    )
  }
  const root = process.getuid?.() === 0
  const flags = root ? ['--mount'] : ['--user', '--map-current-user', '--keep-caps', '--mount']
  const shell = [
    '/bin/sh',
    '-c',
    SCRIPT,
    'run',
    mountpoint,
    STORE_DIR,
    root ? `${WITH_US} --` : `${WITH_US} ${WITHOUT_CAPABILITIES} --`,
    program,
    ...args,
  ]
  const child = spawn('unshare', [...flags, '--propagation', 'slave', '--', ...shell], {
    stdio: ['inherit', 'inherit', 'pipe', 2, 'pipe'],
  })
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
    child.once('error', cause =>
      reject(
        systemCode(cause) === 'ENOENT'
          ? new MissingToolError('unshare is missing; install the package util-linux', { cause })
          : cause,
      ),
    )
  })
  const takeBack = leaveSignalsTo(child)
  try {
    const [messages, words, how] = await Promise.all([text(child.stderr!), text(child.stdio[4] as Readable), ended])
    const why = messages.trim().split('\n').at(-1) ?? ''
    if (!words.includes('mounted'))
      throw new MountError(
        `the store cannot be mounted at ${STORE_DIR} for a program: ${why}${root ? '' : ' (as another user than root this takes user namespaces)'}`,
      )
    if (!words.includes('found')) throw new UnknownPathError(`${program}: ${why}`)
    return how
  } finally {
    takeBack()
  }
}
