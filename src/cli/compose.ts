import { currentOwner } from '../blocks/owner.ts'
import { PackReader, PackStaging } from '../blocks/packs.ts'
import { StateError, systemCode } from '../errors.ts'
import { LmdbIndex } from '../index/lmdb.ts'
import { type Logger, stderrLogger } from '../log.ts'
import { Ingest } from '../store/ingest.ts'
import { StoreReader } from '../store/reader.ts'
import { openStateFolder, type StateFolder } from '../store/state.ts'
import type { Config } from './config.ts'

/** The concrete store of one state folder. The only place where the parts are put together. */
export interface Store {
  config: Config
  state: StateFolder
  index: LmdbIndex
  reader: StoreReader
  log: Logger
  ingest(options: { pin: boolean }): Ingest
  close(): Promise<void>
}

/** Opens the state; with `readOnly` also one that cannot be written to. Throws StateError. */
export function openStore(config: Config, { readOnly = false } = {}): Store {
  const state = openStateFolder(config.state, config.blocks)
  const index = openIndex(state, readOnly)
  const blocks = new PackReader(state.packs, index)
  return {
    config,
    state,
    index,
    reader: new StoreReader(index, blocks),
    log: stderrLogger(config.verbose),
    ingest: ({ pin }) =>
      new Ingest({
        index,
        pin,
        staging: new PackStaging(state.packs, {
          epoch: index.epoch,
          allocate: () => index.allocatePack(currentOwner()),
          known: multihash => index.locate(multihash) !== undefined,
        }),
      }),
    close: async () => {
      blocks.close()
      await index.close()
    },
  }
}

/** Reading commands work on a state that is not theirs to write, such as root's or one on read-only media. */
function openIndex(state: StateFolder, readOnly: boolean): LmdbIndex {
  try {
    return LmdbIndex.open(state.index)
  } catch (cause) {
    const denied = cause instanceof StateError && ['EROFS', 'EACCES', 'EPERM'].includes(systemCode(cause.cause) ?? '')
    if (readOnly && denied) return LmdbIndex.open(state.index, { readOnly: true })
    throw cause
  }
}
