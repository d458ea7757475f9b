import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { onCleanup, type TestScope } from './cleanup.ts'

type Handler = (incoming: IncomingMessage, response: ServerResponse) => void

/** An answer that does not depend on the question. */
export interface FixedAnswer {
  status: number
  type: string
  body: string
}

/** Stands between the program and a real Kubo, and changes what it says. */
export interface KuboProxy {
  readonly url: string
  /** How many requests there were for each command, such as `block/get`. */
  readonly asked: Map<string, number>
  /** Changes the block that is the answer to `block/get`; undefined leaves all as they are. */
  change: ((block: Buffer, cid: string) => Buffer) | undefined
  /** Lets all requests from now on wait until the function that it gives is called. */
  hold(): () => void
  /** What everybody gets instead of Kubo's answers. */
  instead: FixedAnswer | undefined
}

/** A proxy in front of the RPC API at `target`, on any port unless one is given; it ends with the test. */
export async function kuboProxy(t: TestScope, target: string, port = 0): Promise<KuboProxy> {
  const asked = new Map<string, number>()
  let held: (() => void)[] | undefined
  const answer: Handler = (incoming, response) => {
    const url = new URL(incoming.url!, target)
    const command = url.pathname.replace(/^\/api\/v0\//, '')
    asked.set(command, (asked.get(command) ?? 0) + 1)
    if (held !== undefined) held.push(() => pass(incoming, response, url, command))
    else pass(incoming, response, url, command)
  }
  const pass = (incoming: IncomingMessage, response: ServerResponse, url: URL, command: string) => {
    if (proxy.instead !== undefined) return answerAll(proxy.instead)(incoming, response)
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
  const proxy: KuboProxy = {
    url: await listen(t, answer, port),
    asked,
    change: undefined,
    instead: undefined,
    hold: () => {
      const waiting: (() => void)[] = []
      held = waiting
      return () => {
        held = undefined
        for (const go of waiting) go()
      }
    },
  }
  return proxy
}

/** Gives every request the same answer. */
export function answerAll({ status, type, body }: FixedAnswer): Handler {
  return (incoming, response) => {
    incoming.resume()
    response.writeHead(status, { 'content-type': type }).end(body)
  }
}

/** An HTTP server on the loopback interface that ends with the test; its base URL. */
export async function listen(t: TestScope, answer: Handler, port = 0): Promise<string> {
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
