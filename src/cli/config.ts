import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { kuboUrl } from '../blocks/kubo-url.ts'
import { UsageError } from '../errors.ts'

/** What every command knows, from its options, the environment, the configuration file and the defaults, in this order. */
export interface Config {
  /** The state folder, absolute. */
  state: string
  /** The block store, `local` or `kubo:<RPC URL>`; undefined for the state's own. */
  blocks: string | undefined
  /** How long a block that is not here is waited for, seconds; 0 for as long as it takes. */
  deadline: number
  /** Whom root's commands run as, by name or id; undefined for the default user. */
  user: string | undefined
  json: boolean
  verbose: boolean
}

/** Options as yargs parsed them; undefined where they were not given. */
export type GlobalArguments = { [name in keyof Config | 'config']?: unknown }

type Environment = Record<string, string | undefined>

/** Seconds. */
const DEFAULT_DEADLINE = 30

const ENVIRONMENT_PREFIX = 'NIX_IPFS_'

const settings: { [name in keyof Config]: 'text' | 'number' | 'flag' } = {
  state: 'text',
  blocks: 'text',
  deadline: 'number',
  user: 'text',
  json: 'flag',
  verbose: 'flag',
}

const jsonTypes = { text: 'string', number: 'number', flag: 'boolean' } as const

/** Merges and checks all sources of configuration. Throws UsageError. */
export function readConfig(argv: GlobalArguments, environment: Environment): Readonly<Config> {
  // An empty variable is as good as none.
  const named = (name: string) => environment[ENVIRONMENT_PREFIX + name.toUpperCase().replaceAll('-', '_')] || undefined
  const file = argv.config ?? named('config')
  const fromFile = file === undefined ? {} : readConfigFile(String(file))
  const pick = (name: keyof Config): unknown => argv[name] ?? fromEnvironment(name, named(name)) ?? fromFile[name]
  const state = pick('state') ?? defaultState(environment)
  const blocks = pick('blocks')
  const deadline = Number(pick('deadline') ?? DEFAULT_DEADLINE)
  if (!(deadline >= 0 && Number.isFinite(deadline)))
    throw new UsageError(`--deadline ${pick('deadline')}: is not a number of seconds`)
  if (state === '') throw new UsageError('--state: names no folder')
  const user = pick('user')
  if (user === '') throw new UsageError('--user: names nobody')
  return Object.freeze({
    state: resolve(String(state)),
    blocks: blocks === undefined ? undefined : parseBlocks(String(blocks)),
    deadline,
    user: user === undefined ? undefined : String(user),
    json: pick('json') === true,
    verbose: pick('verbose') === true,
  })
}

function fromEnvironment(name: keyof Config, text: string | undefined): string | boolean | undefined {
  if (text === undefined || settings[name] !== 'flag') return text
  if (['1', 'true'].includes(text)) return true
  if (['0', 'false', ''].includes(text)) return false
  throw new UsageError(`${ENVIRONMENT_PREFIX}${name.toUpperCase()}=${text}: must be 1 or 0`)
}

function readConfigFile(file: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw new UsageError(
      `--config ${file}: ${cause instanceof SyntaxError ? 'is not JSON' : (cause as Error).message}`,
      { cause },
    )
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UsageError(`--config ${file}: is not a JSON object`)
  for (const [name, setting] of Object.entries(value)) {
    const kind = Object.hasOwn(settings, name) ? settings[name as keyof Config] : undefined
    if (kind === undefined)
      throw new UsageError(
        `--config ${file}: unknown key ${JSON.stringify(name)}; known are ${Object.keys(settings).join(', ')}`,
      )
    if (typeof setting !== jsonTypes[kind])
      throw new UsageError(`--config ${file}: ${name} must be a ${jsonTypes[kind]}`)
  }
  return value as Record<string, unknown>
}

/** In the form in which a state remembers it. Throws UsageError. */
function parseBlocks(text: string): string {
  if (text === 'local') return text
  if (!text.startsWith('kubo:')) throw new UsageError(`--blocks ${text}: must be local or kubo:<URL of the RPC API>`)
  return `kubo:${kuboUrl(text.slice('kubo:'.length))}`
}

/** /var/lib for root, the XDG data folder for others. */
function defaultState(environment: Environment): string {
  if (process.getuid?.() === 0) return '/var/lib/nix-ipfs-mount'
  // The XDG Base Directory Specification says that a relative one is to be ignored.
  const data = environment.XDG_DATA_HOME
  return join(data?.startsWith('/') ? data : join(homedir(), '.local', 'share'), 'nix-ipfs-mount')
}
