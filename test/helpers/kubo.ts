import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { onCleanup, type TestScope } from './cleanup.ts'
import { stopProcess } from './run.ts'
import { tempFolder } from './temp.ts'

/** The release that test/kubo pins. */
const KUBO_VERSION = '0.42.0'

/** A repository of the real Kubo in a folder of its own, without any peer, removed after the test. */
export interface KuboRepo {
  /** The repository's folder, Kubo's IPFS_PATH. */
  readonly repo: string
  /**
   * Runs `ipfs` on the repository (through its daemon where one runs) and gives its stdout. Throws an Error with its
   * stderr if it fails.
   */
  ipfs(args: readonly string[], input?: Uint8Array): Buffer
}

/** The same with its daemon running. */
export interface Kubo extends KuboRepo {
  /** Base URL of the RPC API, `http://127.0.0.1:<port>`. */
  readonly rpc: string
  /** Base URL of the gateway, `http://127.0.0.1:<port>`. */
  readonly gateway: string
  /** Stops the daemon; also done after the test. The repository stays until then. */
  stop(): Promise<void>
}

/** A fresh repository with the profile `unixfs-v1-2025`. No process runs. */
export async function kuboRepo(t: TestScope): Promise<KuboRepo> {
  const binary = kuboBinary()
  const repo = tempFolder(t, 'kubo')
  const ipfs = (args: readonly string[], input?: Uint8Array): Buffer => {
    const result = spawnSync(binary, args, {
      env: environment(repo),
      input: input ?? new Uint8Array(0),
      maxBuffer: 2 ** 31,
      timeout: 300_000,
    })
    if (result.error || result.status !== 0) {
      const why = result.error?.message ?? `${result.stderr}`.trim()
      throw new Error(`ipfs ${args.join(' ')}: ${why} (status ${result.status})`)
    }
    return result.stdout
  }
  ipfs(['init', '--profile', 'unixfs-v1-2025,test'])
  ipfs(['config', '--json', 'AutoConf.Enabled', 'false'])
  ipfs(['config', '--json', 'Bootstrap', '[]'])
  ipfs(['config', 'Routing.Type', 'none'])
  return { repo, ipfs }
}

/** A fresh repository with a running daemon on free ports of the loopback interface. */
export async function startKubo(t: TestScope): Promise<Kubo> {
  return startDaemon(t, await kuboRepo(t))
}

/** The daemon of a repository, on free ports of the loopback interface. */
export async function startDaemon(t: TestScope, { repo, ipfs }: KuboRepo): Promise<Kubo> {
  // setpriv ends the daemon should the test process be killed before it could clean up.
  const daemon = spawn('setpriv', ['--pdeathsig', 'KILL', kuboBinary(), 'daemon'], {
    env: environment(repo),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const stop = () => stopProcess(daemon)
  onCleanup(t, stop)
  const { rpc, gateway } = await announcedUrls(daemon)
  return { repo, ipfs, rpc, gateway, stop }
}

/** The binary that `npm test` has built. */
export function kuboBinary(): string {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const binary = join(cache, 'nix-ipfs-mount', `kubo-${KUBO_VERSION}`, 'ipfs')
  if (!existsSync(binary)) throw new Error(`no Kubo ${KUBO_VERSION} at ${binary}: run \`npm test\`, which builds it`)
  return binary
}

function environment(repo: string): NodeJS.ProcessEnv {
  return { ...process.env, IPFS_PATH: repo, IPFS_TELEMETRY: 'off' }
}

/** Reads the daemon's output until it is ready; it goes on being drained afterwards, so the daemon never blocks. */
function announcedUrls(daemon: ChildProcess): Promise<{ rpc: string; gateway: string }> {
  return new Promise((resolve, reject) => {
    let output = ''
    const timer = setTimeout(() => reject(new Error(`Kubo's daemon is not ready after 60 s: ${output}`)), 60_000)
    const onData = (chunk: Buffer) => {
      if (output.includes('Daemon is ready')) return
      output += chunk
      if (!output.includes('Daemon is ready')) return
      clearTimeout(timer)
      const rpc = announced(output, 'RPC API server')
      const gateway = announced(output, 'Gateway server')
      if (rpc && gateway) resolve({ rpc, gateway })
      else reject(new Error(`Kubo's daemon did not say where it listens: ${output}`))
    }
    daemon.stdout?.on('data', onData)
    daemon.stderr?.on('data', onData)
    daemon.once('error', reject)
    daemon.once('exit', status => {
      clearTimeout(timer)
      reject(new Error(`Kubo's daemon ended with status ${status}: ${output}`))
    })
  })
}

function announced(output: string, what: string): string | undefined {
  const match = new RegExp(`${what} listening on /ip4/([0-9.]+)/tcp/([0-9]+)`).exec(output)
  return match ? `http://${match[1]}:${match[2]}` : undefined
}
