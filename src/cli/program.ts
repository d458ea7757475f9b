import yargs from 'yargs'
import { NixIpfsError, StateError, UsageError } from '../errors.ts'
import { printable } from '../log.ts'
import { mountCommand } from './commands/mount.ts'
import { endAsSigpipe, isBrokenPipe } from './output.ts'
import { readPackageVersion } from './version.ts'

const PROGRAM = 'nix-ipfs-mount'

const exitCode = { done: 0, failed: 1, usage: 2 } as const

/** The one line a user sees, and with --verbose where it came from. */
function report(error: unknown, verbose: boolean): number {
  const message = error instanceof Error ? error.message : String(error)
  process.stderr.write(`${PROGRAM}: ${printable(message.replaceAll('\n', ' '))}\n`)
  if (verbose || !(error instanceof NixIpfsError)) {
    for (let cause = error; cause instanceof Error; cause = cause.cause)
      if (verbose) process.stderr.write(`${cause.stack}\n`)
    if (!verbose) process.stderr.write(`${PROGRAM}: this should not happen; run it again with --verbose to see where\n`)
  }
  return error instanceof UsageError ? exitCode.usage : exitCode.failed
}

/** What may be given more than once. */
const repeatable = ['_', '--', 'path']

/** An option given twice is a mistake: yargs makes a list of it, and no command expects one. */
function refuseRepeated(argv: Record<string, unknown>): true {
  const repeated = Object.keys(argv).find(name => Array.isArray(argv[name]) && !repeatable.includes(name))
  if (repeated !== undefined) throw new UsageError(`--${repeated} is given more than once`)
  return true
}

// Output that nobody reads any more, as in `ls | head`, ends the program: it may have been an `add` with more to do.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (isBrokenPipe(error)) endAsSigpipe()
  process.exit(report(new StateError(`standard output: cannot be written (${error.code})`, { cause: error }), false))
})

const words = process.argv.slice(2)

/** A mount starts in a hurry, and is known by the slash in its first word: it does not load what others need. */
async function namedCommands() {
  const isMount = words[0]?.includes('/') && !words[0].startsWith('-') && !words.includes('--help')
  return isMount ? [] : (await import('./commands/all.ts')).namedCommands
}

const parser = yargs(words)
  .scriptName(PROGRAM)
  .usage('$0 <mountpoint>\n\nServes Nix store paths kept as content-addressed blocks through a read-only FUSE mount.')
  .parserConfiguration({
    'camel-case-expansion': false,
    'parse-positional-numbers': false,
    'populate--': true,
  })
  .options({
    state: {
      type: 'string',
      describe: 'State folder [/var/lib/nix-ipfs-mount for root, else $XDG_DATA_HOME/nix-ipfs-mount]',
      global: true,
    },
    blocks: {
      type: 'string',
      describe: 'Block store, local or kubo:<RPC URL>; fixed at first use [local]',
      global: true,
    },
    deadline: {
      type: 'number',
      describe: 'Seconds to wait for a block that is not here, 0 for ever [30]',
      global: true,
    },
    user: {
      type: 'string',
      describe:
        "Whom it runs as where root starts it; a state that is neither theirs nor root's is refused; root to stay root [nix-ipfs-mount]",
      global: true,
    },
    config: { type: 'string', describe: 'JSON file with these options as keys', global: true },
    json: { type: 'boolean', describe: 'Results as JSON', global: true },
    verbose: { type: 'boolean', describe: 'Say more; show where errors come from', global: true },
  })
  .command(mountCommand)
  .command(await namedCommands())
  .command({
    command: 'completion',
    describe: 'Print a completion script for bash or zsh',
    builder: yargs =>
      yargs.example('$0 completion >> ~/.bashrc', 'completes commands and options from the next shell on'),
    handler: () => {
      parser.showCompletionScript()
    },
  })
  .epilogue(
    'Every option is also read from the environment, as NIX_IPFS_STATE for --state. Exit status: 0 done, 1 failed, 2 wrong usage.',
  )
  .strict()
  .check(refuseRepeated)
  .version(readPackageVersion())
  .help()
  .wrap(null)
  .exitProcess(false)
  .fail((message, error) => {
    throw error ?? new UsageError(`${message.replaceAll('\n', ' ')}; see ${PROGRAM} --help`)
  })

try {
  await parser.parseAsync()
} catch (error) {
  process.exitCode = report(error, words.includes('--verbose') || process.env.NIX_IPFS_VERBOSE === '1')
}
