import { DamagedError } from '../errors.ts'
import type { PackCheck } from '../store/pack-check.ts'
import type { Store } from './compose.ts'

/** What is wrong with the packs, as far as the index could be asked. */
export type VerifiedPacks = PackCheck & { failure?: DamagedError }

/** For a check of some paths only. */
export const packsNotChecked: VerifiedPacks = { problems: [], unrecorded: new Set() }

/** Checks the packs of a store; with `repair` makes good what is wrong, so that nothing is left to report. */
export async function verifyPacks(store: Store, repair: boolean): Promise<VerifiedPacks> {
  try {
    const check = store.checkPacks()
    if (!repair || (check.problems.length === 0 && check.unrecorded.size === 0)) return check
    for (const { file, why } of check.problems) store.log.info(`${file}: ${why}`)
    const { blocks, records } = await store.repairPacks(check)
    store.log.info(`copied ${blocks} blocks and ${records} records of paths to a new pack`)
    return packsNotChecked
  } catch (failure) {
    // Of the index itself. It is reported after the paths, each of which may have more to say.
    if (!(failure instanceof DamagedError)) throw failure
    return { ...packsNotChecked, failure }
  }
}
