import type { Environment } from './environment.ts'
import { nodeKey, nodeRow, pathKey, rootKey } from './keys.ts'
import { decodeTombstone } from './rows.ts'
import type { NodeId } from './types.ts'

/** Rows that are looked for at a time. */
const BATCH = 256
/** Pages that the removal of one row writes, roughly. */
const BYTES_OF_ROW = 512

/** Nodes of one tree. */
export interface NodeIds {
  baseName: string
  firstNode: NodeId
  entries: number
}

/**
 * Removes the rows of nodes that no path has any more, in transactions of bounded time. Each looks first whether the
 * ids have come to life: ids of a forgotten path are given out again to the same tree, and rows of equal content may
 * be on their way in. `forgotten` says whether the ids are those of a tombstone, which must still stand unclaimed.
 */
export function removeNodes(environment: Environment, ids: NodeIds, forgotten: boolean): void {
  const end = ids.firstNode + ids.entries
  for (const row of [nodeRow.record, nodeRow.page, nodeRow.pageIndex]) {
    // nodeKey() has one buffer for all its keys.
    const query = { start: Buffer.from(nodeKey(row, ids.firstNode)), end: Buffer.from(nodeKey(row, end)), limit: BATCH }
    for (let more = true; more; ) {
      more = environment.write(0, budget => {
        if (isAlive(environment, ids, forgotten)) return false
        for (;;) {
          const keys = environment.keys('nodes', query)
          for (const key of keys) environment.remove('nodes', key)
          if (keys.length < BATCH) return false
          if (!budget.spend(BATCH * BYTES_OF_ROW)) return true
        }
      })
    }
  }
}

function isAlive(environment: Environment, { baseName, firstNode }: NodeIds, forgotten: boolean): boolean {
  if (environment.has('roots', rootKey(firstNode))) return true
  const payload = environment.get('forgotten', pathKey(baseName))
  const tombstone = payload && decodeTombstone(payload)
  const mine = tombstone?.firstNode === firstNode
  return forgotten ? !mine || tombstone.claimed : mine
}
