import { asBuffer } from '../bytes.ts'
import { cidText } from '../cid.ts'
import { RefusedError } from '../errors.ts'
import { sealInPlace } from './checksum.ts'
import type { Environment } from './environment.ts'
import { contentsKey, metaKeys, nodeKey, nodeRow, pathKey, pinKey, rootKey } from './keys.ts'
import { removeNodes } from './node-removal.ts'
import { NodeRunLog, type PendingRow } from './node-run.ts'
import { encodeRecord } from './record.ts'
import { decodeNumber, decodeTombstone, encodeExpiry, encodeNumber } from './rows.ts'
import type { IndexReader, PathCommit, PathRecord } from './types.ts'

/** Of a sha2-256 multihash. */
const MULTIHASH_BYTES = 34
/** Pages that a row under a random key touches. Bytes. */
const RANDOM_ROW_BYTES = 4096

/** Rows of at most this many bytes go into the last transaction. */
const SMALL_BYTES = 256 * 1024

const HASH_PART_LENGTH = 32

/**
 * Writes the nodes and leaf tables of new paths, which nobody can see yet, and then in one last transaction makes the
 * paths visible, if all that they rest on is still there. See IndexWriter.commitPaths.
 */
export function commitPaths(
  environment: Environment,
  index: IndexReader,
  commits: readonly PathCommit[],
  reused: Buffer,
): ('added' | 'known')[] {
  const runs = commits.map(({ record, nodes }) => {
    if (!(nodes instanceof NodeRunLog)) throw new TypeError('nodes of another index')
    if (nodes.entries !== record.entries) {
      throw new RangeError(`${record.baseName}: ${nodes.entries} nodes of ${record.entries}`)
    }
    return nodes
  })
  const encoded = commits.map(({ record }) => encodeRecord(record))
  const rows = rowsOf(runs, commits)
  const writeRow = rowWriter(environment)
  // Each transaction waits for the disk, so that few rows go with the last one.
  const bytes = runs.reduce((sum, run) => sum + run.bytes, 0)
  const apart = bytes > SMALL_BYTES
  const need = commits.length * 4 * RANDOM_ROW_BYTES + (apart ? 0 : 4 * bytes)
  const removals = removalsOf(environment)
  try {
    if (apart) environment.writeEach(RANDOM_ROW_BYTES, rows, writeRow)
    checkReused(environment, reused)
    const outcomes = environment.write(need, () => {
      // A gc that came in between may have taken what was looked at before.
      if (removalsOf(environment) !== removals) checkAgain(environment, runs, reused, apart)
      if (!apart) for (const row of rows) writeRow(row)
      const outcomes = commits.map((commit, i) => enter(environment, index, commit, encoded[i]!))
      if (outcomes.includes('added')) {
        environment.put('meta', metaKeys.generation, encodeNumber(index.generation() + 1))
      }
      return outcomes
    })
    commits.forEach(({ record }, i) => {
      if (outcomes[i] === 'known') removeNodes(environment, record, false)
    })
    return outcomes
  } catch (error) {
    if (apart) cleanUp(environment, commits)
    throw error
  }
}

/** What was written for paths that did not make it. The error that is on its way matters more than another one. */
function cleanUp(environment: Environment, commits: readonly PathCommit[]): void {
  try {
    for (const { record } of commits) removeNodes(environment, record, false)
  } catch {
    // Rows that stay are never visible.
  }
}

function* rowsOf(runs: readonly NodeRunLog[], commits: readonly PathCommit[]): Generator<PendingRow> {
  for (const [i, run] of runs.entries()) yield* run.rows(commits[i]!.record.firstNode)
}

/** Writes one row after the other, inside transactions; gives the bytes of pages that it touches. */
function rowWriter(environment: Environment): (row: PendingRow) => number {
  let begun: Buffer | undefined
  return ({ database, key, value, file }) => {
    if (file !== undefined && begun?.equals(file) !== true) {
      // Other paths have the same file, and its table is whole if its first page is there, which is written last.
      if (environment.has('contents', contentsKey(file, 0))) return 0
      begun = Buffer.from(file)
    }
    sealInPlace(key, value)
    environment.putSealed(database, key, value)
    return file === undefined ? 2 * (key.length + value.length) : RANDOM_ROW_BYTES + value.length
  }
}

function removalsOf(environment: Environment): number {
  const payload = environment.get('meta', metaKeys.removals)
  return (payload && decodeNumber(payload)) ?? 0
}

function checkReused(environment: Environment, reused: Buffer): void {
  for (let at = 0; at < reused.length; at += MULTIHASH_BYTES) {
    if (!environment.has('blocks', reused.subarray(at, at + MULTIHASH_BYTES))) throw goneError()
  }
}

function checkAgain(environment: Environment, runs: readonly NodeRunLog[], reused: Buffer, written: boolean): void {
  checkReused(environment, reused)
  if (!written) return
  for (const run of runs) {
    for (const file of run.files()) if (!environment.has('contents', contentsKey(file, 0))) throw goneError()
  }
}

function goneError(): RefusedError {
  return new RefusedError('blocks were removed by a gc meanwhile; run it again')
}

/** Enters one path, in the last transaction. */
function enter(
  environment: Environment,
  index: IndexReader,
  { record, pin }: PathCommit,
  encoded: Buffer,
): 'added' | 'known' {
  const { baseName, firstNode } = record
  const known = index.pathByHashPart(baseName.slice(0, HASH_PART_LENGTH))
  if (known !== undefined) checkSame(record, known)
  if (pin !== undefined) environment.put('pins', pinKey(baseName, pin.name), encodeExpiry(pin.expires))
  if (known !== undefined) return 'known'
  // Only a failed commit of the same tree at the same time can have taken them.
  if (!environment.has('nodes', nodeKey(nodeRow.record, firstNode))) throw goneError()
  environment.put('paths', pathKey(baseName), encoded)
  environment.put('roots', rootKey(firstNode), pathKey(baseName))
  forgetTombstone(environment, record)
  return 'added'
}

/** That of another tree stays: a mount that has not yet seen it go learns from it that the name changed hands. */
function forgetTombstone(environment: Environment, { baseName, firstNode }: PathRecord): void {
  const key = pathKey(baseName)
  const payload = environment.get('forgotten', key)
  const tombstone = payload && decodeTombstone(payload)
  if (tombstone === undefined || tombstone.firstNode === firstNode) environment.remove('forgotten', key)
}

/** The first accepted record wins. */
function checkSame(record: PathRecord, known: PathRecord): void {
  if (known.baseName !== record.baseName) {
    throw new RefusedError(
      `${record.baseName}: its hash part is known as that of ${known.baseName}; forget that one first`,
    )
  }
  if (asBuffer(known.narHash).compare(record.narHash) !== 0) {
    throw new RefusedError(
      `${record.baseName}: is known with narHash ${hashText(known)} and tree ${cidText(known.root)}, not ${hashText(record)} and ${cidText(record.root)}; forget it first`,
    )
  }
}

function hashText({ narHash }: PathRecord): string {
  return `sha256:${asBuffer(narHash).toString('hex')}`
}
