import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { onCleanup, type TestScope } from './cleanup.ts'

/** Stands between the program and a real Kubo, and changes what it says. */
export interface KuboProxy {
  readonly url: string
  /** How many requests there were for each command, such as `block/get`. */
  readonly asked: Map<string, number>
  /** Changes the block that is the answer to `block/get`; undefined leaves all as they are. */
  change: ((block: Buffer, cid: string) => Buffer) | undefined
  /** True lets every request wait for ever. */
  silent: boolean
}

/** A proxy in front of the RPC API at `target`, on any port unless one is given; it ends with the test. */
export async function kuboProxy(t: TestScope, target: string, port = 0): Promise<KuboProxy> {
  const asked = new Map<string, number>()
  const answer = (incoming: IncomingMessage, response: ServerResponse) => {
    const url = new URL(incoming.url!, target)
    const command = url.pathname.replace(/^\/api\/v0\//, '')
    asked.set(command, (asked.get(command) ?? 0) + 1)
    if (proxy.silent) return
    const headers = { ...incoming.headers, host: url.host }
    const outgoing = request(url, { method: incoming.method!, headers }, async real => {
      const { change } = proxy
      if (command !== 'block/get' || real.statusCode !== 200 || change === undefined) {
        response.writeHead(real.statusCode!, real.headers)
        real.pipe(response)
        return
      }
      const bytes = change(await buffer(real), url.searchParams.get('arg')!)
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(bytes)
    })
    outgoing.on('error', () => incoming.socket.destroy())
    incoming.pipe(outgoing)
  }
  const proxy: KuboProxy = { url: await listen(t, answer, port), asked, change: undefined, silent: false }
  return proxy
}

/** An HTTP server on the loopback interface that ends with the test; its base URL. */
export async function listen(
  t: TestScope,
  answer: (incoming: IncomingMessage, response: ServerResponse) => void,
  port = 0,
): Promise<string> {
  const server = createServer(answer)
  const sockets = new Set<Socket>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
  onCleanup(t, () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`
}
