import { type ChildProcess, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { onCleanup, type TestScope } from './cleanup.ts'
import { type KuboRepo, kuboBinary, kuboRepo } from './kubo.ts'
import { stopProcess } from './run.ts'
import { until } from './until.ts'

/** A real Kubo whose daemon a test ends and starts again, always at the same URL. */
export interface KuboDaemon extends KuboRepo {
  /** Base URL of the RPC API, `http://127.0.0.1:<port>`. */
  readonly rpc: string
  /** Returns when the RPC API answers. */
  start(): Promise<void>
  /** Ends the daemon, with SIGKILL unless told otherwise; also done after the test. */
  end(signal?: NodeJS.Signals): Promise<void>
}

/** A fresh repository with a running daemon. */
export async function kuboDaemon(t: TestScope): Promise<KuboDaemon> {
  const kubo = await kuboRepo(t)
  const port = await freePort()
  const rpc = `http://127.0.0.1:${port}`
  kubo.ipfs(['config', 'Addresses.API', `/ip4/127.0.0.1/tcp/${port}`])
  let daemon: ChildProcess | undefined
  const end = async (signal: NodeJS.Signals = 'SIGKILL') => {
    if (daemon !== undefined) await stopProcess(daemon, signal)
    daemon = undefined
  }
  const start = async () => {
    // setpriv ends the daemon should the test process be killed before it could clean up.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', kuboBinary(), 'daemon'], {
      env: { ...process.env, IPFS_PATH: kubo.repo, IPFS_TELEMETRY: 'off' },
      stdio: 'ignore',
    })
    daemon = child
    await until('Kubo answers', async () => {
      if (child.exitCode !== null) throw new Error(`Kubo's daemon ended with status ${child.exitCode}`)
      try {
        // Any status will do: a node that wants authorisation answers too.
        await fetch(`${rpc}/api/v0/version`, { method: 'POST' })
        return true
      } catch {
        return false
      }
    })
  }
  onCleanup(t, () => end())
  await start()
  return { ...kubo, rpc, start, end }
}

/** A TCP port of the loopback interface that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise(resolve => server.close(resolve))
  return port
}
