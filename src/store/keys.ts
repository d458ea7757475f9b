import { randomBytes } from 'node:crypto'
import { closeSync, fchmodSync, fsyncSync, linkSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FormatError, RefusedError, StateError, systemCode } from '../errors.ts'
import { generateSecretKey, parseSecretKey, type SecretKey, secretKeyText } from '../nix/signature.ts'

/**
 * The state's own key: the file `secret-key` of the state folder, mode 0600, which holds what
 * `nix-store --generate-binary-cache-key` would write, so that Nix's own tools can sign with it. The public key is
 * computed from it. The file appears whole, by link(2), and is never written again.
 */
const KEY_FILE = 'secret-key'

export function keyFile(stateFolder: string): string {
  return join(stateFolder, KEY_FILE)
}

/**
 * Makes the state's key. Where two processes try at once, one succeeds.
 * @throws RefusedError where there is one, StateError where it cannot be written, FormatError for a wrong name
 */
export function generateStateKey(stateFolder: string, name: string): SecretKey {
  const key = generateSecretKey(name)
  const file = keyFile(stateFolder)
  const temporary = `${file}.${randomBytes(8).toString('hex')}`
  try {
    writePrivately(temporary, secretKeyText(key))
    try {
      linkSync(temporary, file)
    } finally {
      unlinkSync(temporary)
    }
    syncFolder(stateFolder)
  } catch (cause) {
    if (systemCode(cause) === 'EEXIST') {
      throw new RefusedError(`${file}: there is a key already; move that file away to make another`, { cause })
    }
    throw new StateError(`${file}: the key cannot be written (${systemCode(cause) ?? cause})`, { cause })
  }
  return key
}

/** The state's key, or undefined where none was made. Throws as {@link readSecretKey}. */
export function readStateKey(stateFolder: string): SecretKey | undefined {
  return readSecretKey(keyFile(stateFolder))
}

/**
 * Reads a file with a secret key; undefined where there is no such file.
 * @throws StateError where it cannot be read, FormatError where it holds no key
 */
export function readSecretKey(file: string): SecretKey | undefined {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined
    throw new StateError(`${file}: the key cannot be read (${systemCode(cause) ?? cause})`, { cause })
  }
  try {
    // Editors end a file with a newline, Nix does not.
    return parseSecretKey(text.trimEnd())
  } catch (cause) {
    throw new FormatError(`${file}: ${(cause as Error).message}`, { cause })
  }
}

function writePrivately(file: string, text: string): void {
  const fd = openSync(file, 'wx', 0o600)
  try {
    // The umask may have taken the owner's bits too.
    fchmodSync(fd, 0o600)
    writeFileSync(fd, text)
    fsyncSync(fd)
  } catch (cause) {
    unlinkSync(file)
    throw cause
  } finally {
    closeSync(fd)
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
