import { basename } from 'node:path'
import { cidText } from '../../src/cid.ts'
import { openStore, type Store } from '../../src/cli/compose.ts'
import { fullPath } from '../../src/nix/store-path.ts'
import type { Added } from '../../src/store/ingest.ts'
import { verifyPath } from '../../src/store/verify.ts'

/** The result of `verify --json` for one path, or for a pack that is damaged. */
export interface Verified {
  path: string
  ok: boolean
  bad: { kind: string; cid: string | null; path: string; why: string }[]
}

/** Uses a state in this process, which is far faster than a process for each question. */
export async function withStore<T>(state: string, use: (store: Store) => T | Promise<T>, deadline = 30): Promise<T> {
  const store = openStore({ state, blocks: undefined, deadline, user: undefined, json: false, verbose: false })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** Adds a folder as `add --json` does, without the process. */
export function addFolderTo(state: string, folder: string, name = basename(folder)): Promise<Added> {
  return withStore(state, async store => {
    const ingest = store.ingest({ pin: true })
    try {
      await ingest.addFolder(folder, name)
      return (await ingest.commit())[0]!
    } finally {
      await ingest.close()
    }
  })
}

/** What `verify --json` says of a state, without the process; damaged packs last. */
export function verifyState(state: string, deadline?: number): Promise<Verified[]> {
  return withStore(
    state,
    async store => {
      const results: Verified[] = []
      const { problems, unrecorded } = store.checkPacks()
      for (const record of store.index.paths()) {
        const found = await verifyPath(store.reader, record, unrecorded)
        const bad = found.map(problem => ({ ...problem, cid: cidText(problem.cid) }))
        results.push({ path: fullPath(record.baseName), ok: bad.length === 0, bad })
      }
      for (const { file, why } of problems)
        results.push({ path: file, ok: false, bad: [{ kind: 'pack', cid: null, path: '', why }] })
      return results
    },
    deadline,
  )
}
