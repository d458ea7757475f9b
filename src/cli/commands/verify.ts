import type { CommandModule } from 'yargs'
import { cidText, readCid } from '../../cid.ts'
import { IntegrityError, StateError } from '../../errors.ts'
import { fullPath } from '../../nix/store-path.ts'
import { type Problem, verifyPath } from '../../store/verify.ts'
import { checkPathArguments, configOf } from '../arguments.ts'
import { openStore, rebuildStore, type Store } from '../compose.ts'
import type { GlobalArguments } from '../config.ts'
import { printJson, printLine } from '../output.ts'

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
          'Rebuild a lost index from the packs; drop damaged blocks, so that adding their paths again stores them anew',
      })
      .example('$0 verify', 'everything that is here; exit status 1 if anything is damaged or missing')
      .example('$0 verify --repair', 'after the index was lost: paths and blocks from the packs alone'),
  handler: async argv => {
    const config = configOf(argv)
    checkPathArguments(argv.path)
    if (argv.repair) await repair(config)
    const store = openStore(config, { readOnly: !argv.repair })
    let checked = 0
    let damaged = 0
    try {
      await store.checkBlocks()
      const records = argv.path.length > 0 ? argv.path.map(path => store.reader.path(path)) : store.index.paths()
      for (const record of records) {
        const problems = await verifyPath(store.reader, record)
        checked++
        if (problems.length > 0) damaged++
        if (argv.repair) dropBlocks(store, problems)
        const path = fullPath(record.baseName)
        if (config.json) printJson({ path, ok: problems.length === 0, bad: problems.map(describe) })
        else if (problems.length === 0) printLine(`${path}: ok`)
        else for (const problem of problems) printLine(text(path, problem))
      }
    } finally {
      await store.close()
    }
    if (damaged > 0) {
      const next = argv.repair ? 'add them again' : 'use verify --repair, then add them again'
      throw new IntegrityError(`${damaged} of ${checked} paths are damaged; ${next}`)
    }
  },
}

async function repair(config: ReturnType<typeof configOf>): Promise<void> {
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

/** A block that stays in the index would be taken for good when its path is added again. */
function dropBlocks({ index }: Store, problems: readonly Problem[]): void {
  index.removeBlocks(problems.filter(({ kind }) => kind === 'block').map(({ cid }) => readCid(cid)?.multihash ?? cid))
}

function describe({ kind, cid, path, why }: Problem) {
  return { kind, cid: cidText(cid), path, why }
}

function text(path: string, problem: Problem): string {
  const inside = problem.path === '' ? path : `${path}/${problem.path}`
  return `${inside}: ${problem.kind} ${cidText(problem.cid)}: ${problem.why}`
}
