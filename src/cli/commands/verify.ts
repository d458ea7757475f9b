import type { CommandModule } from 'yargs'
import { cidText } from '../../cid.ts'
import { DamagedError, IntegrityError, StateError } from '../../errors.ts'
import { fullPath } from '../../nix/store-path.ts'
import type { Problem } from '../../store/block-check.ts'
import type { PackProblem } from '../../store/pack-check.ts'
import { openStateFolder } from '../../store/state.ts'
import { verifyPath } from '../../store/verify.ts'
import { checkPathArguments, configOf } from '../arguments.ts'
import { openStore, rebuildStore } from '../compose.ts'
import type { Config, GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'
import { withRepairLock } from '../repair-lock.ts'
import { becomeStateUser } from '../state-user.ts'
import { packsNotChecked, verifyPacks } from '../verify-packs.ts'

interface VerifyArguments extends GlobalArguments {
  path: string[]
  repair: boolean
}

export const verifyCommand: CommandModule<GlobalArguments, VerifyArguments> = {
  command: 'verify [path..]',
  describe: 'Hash everything again: blocks, trees and NARs; without paths also check the packs',
  builder: yargs =>
    yargs
      .positional('path', { type: 'string', array: true, default: [], describe: 'Store paths [all]' })
      .option('repair', {
        type: 'boolean',
        default: false,
        describe:
          'Rebuild a lost index from the packs; copy what a damaged pack still has to a new one; drop damaged blocks (in Kubo also the pins of their paths), so that adding the paths again stores them anew',
      })
      .example('$0 verify', 'everything that is here; exit status 1 if anything is damaged or missing')
      .example('$0 verify --repair', 'after the index was lost: paths and blocks from the packs alone'),
  handler: async argv => {
    const config = configOf(argv)
    checkPathArguments(argv.path)
    becomeStateUser(config)
    try {
      if (!argv.repair) await verify(argv, config)
      else await withRepairLock(openStateFolder(config.state, config.blocks).folder, () => verify(argv, config))
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
  const kinds = new Set<Problem['kind']>()
  try {
    await store.checkBlocks()
    const packs = argv.path.length === 0 ? await verifyPacks(store, argv.repair) : packsNotChecked
    for (const problem of packs.problems) await printPack(problem, config.json)
    const records = argv.path.length > 0 ? argv.path.map(path => store.reader.path(path)) : store.index.paths()
    for (const record of records) {
      const problems = await verifyPath(store.reader, record, packs.unrecorded)
      checked++
      if (problems.length > 0) damaged++
      for (const { kind } of problems) kinds.add(kind)
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
    const number = packs.problems.length
    if (packs.failure !== undefined && damaged === 0) throw packs.failure
    if (packs.failure !== undefined) kinds.add('tree')
    if (damaged === 0 && number === 0) return
    const what = `${number === 0 ? '' : `${number} pack${number === 1 ? '' : 's'} and `}${damaged} of ${checked} paths`
    throw new IntegrityError(`${what} are damaged; ${remedy(kinds, number > 0, argv.repair, config.state)}`)
  } finally {
    await store.close()
  }
}

function remedy(kinds: ReadonlySet<Problem['kind']>, inPacks: boolean, repaired: boolean, state: string): string {
  const inIndex = kinds.has('tree') || kinds.has('nar')
  const repair = 'use verify --repair'
  // What the packs would not give back is still in the index.
  if (inIndex) return inPacks || kinds.has('record') ? `${repair}, then ${remakeIndex(state)}` : remakeIndex(state)
  const again = 'add them again'
  if (!kinds.has('block')) return repair
  return repaired ? again : `${repair}, then ${again}`
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

async function printPack({ file, why }: PackProblem, json: boolean): Promise<void> {
  if (json) await printJson({ path: file, ok: false, bad: [{ kind: 'pack', cid: null, path: '', why }] })
  else await printLine(`${file}: pack: ${why}`)
}

function describe({ kind, cid, path, why }: Problem) {
  return { kind, cid: cidText(cid), path, why }
}

function text(path: string, problem: Problem): string {
  const inside = problem.path === '' ? path : `${path}/${problem.path}`
  return `${inside}: ${problem.kind} ${cidText(problem.cid)}: ${problem.why}`
}
