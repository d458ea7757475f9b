import type { CommandModule } from 'yargs'
import { cidText } from '../../cid.ts'
import { DamagedError, IntegrityError, StateError } from '../../errors.ts'
import { fullPath } from '../../nix/store-path.ts'
import type { Problem } from '../../store/block-check.ts'
import { openStateFolder } from '../../store/state.ts'
import { verifyPath } from '../../store/verify.ts'
import { checkPathArguments, configOf } from '../arguments.ts'
import { openStore, rebuildStore } from '../compose.ts'
import type { Config, GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'
import { becomeStateUser } from '../state-user.ts'

interface VerifyArguments extends GlobalArguments {
  path: string[]
  repair: boolean
}

export const verifyCommand: CommandModule<GlobalArguments, VerifyArguments> = {
  command: 'verify [path..]',
  describe: 'Hash everything again: blocks, trees and NARs',
  builder: yargs =>
    yargs
      .positional('path', { type: 'string', array: true, default: [], describe: 'Store paths [all]' })
      .option('repair', {
        type: 'boolean',
        default: false,
        describe:
          'Rebuild a lost index from the packs; drop damaged blocks (in Kubo also the pins of their paths), so that adding the paths again stores them anew',
      })
      .example('$0 verify', 'everything that is here; exit status 1 if anything is damaged or missing')
      .example('$0 verify --repair', 'after the index was lost: paths and blocks from the packs alone'),
  handler: async argv => {
    const config = configOf(argv)
    checkPathArguments(argv.path)
    becomeStateUser(config)
    try {
      await verify(argv, config)
    } catch (error) {
      // Of the index itself: what is wrong with a path is a problem of that path, and the next one is checked.
      if (!(error instanceof DamagedError)) throw error
      throw new DamagedError(`${error.message}; ${remakeIndex(config.state)}`, { cause: error })
    }
  },
}

async function verify(argv: VerifyArguments, config: Config): Promise<void> {
  if (argv.repair) await repair(config)
  const store = openStore(config, { readOnly: !argv.repair })
  let checked = 0
  let damaged = 0
  let inIndex = false
  try {
    await store.checkBlocks()
    const records = argv.path.length > 0 ? argv.path.map(path => store.reader.path(path)) : store.index.paths()
    for (const record of records) {
      const problems = await verifyPath(store.reader, record)
      checked++
      if (problems.length > 0) damaged++
      inIndex ||= problems.some(({ kind }) => kind !== 'block')
      const bad = problems.filter(({ kind }) => kind === 'block').map(({ cid }) => cid)
      if (argv.repair && bad.length > 0) await store.dropBlocks(record, bad)
      const path = fullPath(record.baseName)
      if (config.json) await printJson({ path, ok: problems.length === 0, bad: problems.map(describe) })
      else if (problems.length === 0) await printLine(`${path}: ok`)
      else for (const problem of problems) await printLine(text(path, problem))
    }
    if (argv.repair && (damaged > 0 || argv.path.length === 0)) {
      const dropped = store.dropDamaged()
      if (dropped > 0) store.log.info(`dropped ${dropped} more blocks that are damaged or missing`)
    }
  } finally {
    await store.close()
  }
  if (damaged > 0) {
    const again = argv.repair ? 'add them again' : 'use verify --repair, then add them again'
    const next = inIndex ? remakeIndex(config.state) : again
    throw new IntegrityError(`${damaged} of ${checked} paths are damaged; ${next}`)
  }
}

/** Packs have all that the index has; another block store has the blocks alone. */
function remakeIndex(folder: string): string {
  const { index, blocks } = openStateFolder(folder, undefined)
  const how = blocks === 'local' ? 'use verify --repair to make it again from the packs' : 'add the paths again'
  return `remove ${index}, then ${how}`
}

async function repair(config: Config): Promise<void> {
  const rebuilt = await rebuildStore(config)
  if (rebuilt === undefined) return
  const { paths, blocks, lost, log } = rebuilt
  log.info(
    `rebuilt the index from the packs: ${paths} paths, ${blocks} blocks; paths that were forgotten are there again`,
  )
  for (const { baseName, why } of lost) log.warn(`${fullPath(baseName)}: is lost: ${why}`)
  if (lost.length > 0)
    throw new StateError(`${lost.length} of ${paths + lost.length} paths could not be rebuilt; add them again`)
}

function describe({ kind, cid, path, why }: Problem) {
  return { kind, cid: cidText(cid), path, why }
}

function text(path: string, problem: Problem): string {
  const inside = problem.path === '' ? path : `${path}/${problem.path}`
  return `${inside}: ${problem.kind} ${cidText(problem.cid)}: ${problem.why}`
}
