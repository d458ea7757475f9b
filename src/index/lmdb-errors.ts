import { getSystemErrorName } from 'node:util'
import { DamagedError, NixIpfsError, StateError, systemCode } from '../errors.ts'

/** Codes of lmdb.h that mean the files are not what they should be. */
const damage = new Set([
  -30797, // MDB_PAGE_NOTFOUND
  -30796, // MDB_CORRUPTED
  -30793, // MDB_INVALID
])
const MDB_VERSION_MISMATCH = -30794

/** What LMDB or the system said about the index in `folder`, in our terms. */
export function stateErrorOf(folder: string, error: unknown): Error {
  if (error instanceof NixIpfsError) return error
  const code = (error as { code?: unknown }).code
  const message = error instanceof Error ? error.message : String(error)
  if (typeof code === 'number' && damage.has(code)) {
    return new DamagedError(`index ${folder}: ${message}`, { cause: error })
  }
  if (code === MDB_VERSION_MISMATCH) {
    return new StateError(`${folder}: the index was written by another version of LMDB`, { cause: error })
  }
  const name = typeof code === 'number' && code > 0 ? getSystemErrorName(-code) : systemCode(error)
  if (name === 'ENOSPC' || name === 'EDQUOT') return noSpace(folder, error)
  if (name === undefined)
    return error instanceof Error && code === undefined ? error : stateError(folder, message, error)
  const cause = Object.assign(new Error(message, { cause: error }), { code: name })
  return stateError(folder, `${name}: ${message}`, cause)
}

export function noSpace(folder: string, cause?: unknown): StateError {
  return new StateError(`${folder}: no space left on the device, nothing more was added to the index`, { cause })
}

function stateError(folder: string, why: string, cause: unknown): StateError {
  return new StateError(`${folder}: the index cannot be used: ${why}`, { cause })
}
