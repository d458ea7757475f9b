import type { CommandModule } from 'yargs'
import type { GlobalArguments } from '../config.ts'
import { addCommand } from './add.ts'
import { catCommand } from './cat.ts'
import { forgetCommand } from './forget.ts'
import { infoCommand } from './info.ts'
import { keyCommand } from './key.ts'
import { lsCommand } from './ls.ts'
import { narCommand } from './nar.ts'
import { runCommand } from './run.ts'
import { statusCommand } from './status.ts'
import { upgradeCommand } from './upgrade.ts'
import { verifyCommand } from './verify.ts'

/** All commands with a name, in the order of the help. */
export const namedCommands = [
  addCommand,
  infoCommand,
  lsCommand,
  catCommand,
  narCommand,
  forgetCommand,
  runCommand,
  verifyCommand,
  keyCommand,
  statusCommand,
  upgradeCommand,
] as unknown as CommandModule<GlobalArguments, GlobalArguments>[]
