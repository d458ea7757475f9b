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
  /** How many requests there were for each block, by its CID. */
  readonly blocks: Map<string, number>
  /** Changes the block that is the answer to `block/get`; undefined leaves all as they are. */
  change: ((block: Buffer, cid: string) => Buffer) | undefined
  /** Lets requests from now on, all or those for some blocks, wait until the function that it gives is called. */
  hold(which?: (cid: string) => boolean): () => void
  /** Milliseconds that every block takes longer. */
  delay: number
  /** What everybody gets instead of Kubo's answers, or who asks for a block. */
  instead: FixedAnswer | ((cid: string) => FixedAnswer | undefined) | undefined
}

/** A proxy in front of the RPC API at `target`, on any port unless one is given; it ends with the test. */
export async function kuboProxy(t: TestScope, target: string, port = 0): Promise<KuboProxy> {
  const asked = new Map<string, number>()
  const blocks = new Map<string, number>()
  let held: { waiting: (() => void)[]; which: ((cid: string) => boolean) | undefined } | undefined
  const answer: Handler = (incoming, response) => {
    const url = new URL(incoming.url!, target)
    const command = url.pathname.replace(/^\/api\/v0\//, '')
    asked.set(command, (asked.get(command) ?? 0) + 1)
    const cid = command === 'block/get' ? url.searchParams.get('arg')! : undefined
    if (cid !== undefined) blocks.set(cid, (blocks.get(cid) ?? 0) + 1)
    const go = () => pass(incoming, response, url, cid)
    if (held !== undefined && (held.which === undefined || (cid !== undefined && held.which(cid))))
      held.waiting.push(go)
    else if (cid !== undefined && proxy.delay > 0) setTimeout(go, proxy.delay)
    else go()
  }
  const pass = (incoming: IncomingMessage, response: ServerResponse, url: URL, cid: string | undefined) => {
    const { instead } = proxy
    const other = typeof instead === 'function' ? cid && instead(cid) : instead
    if (other) return answerAll(other)(incoming, response)
    const headers = { ...incoming.headers, host: url.host }
    const outgoing = request(url, { method: incoming.method!, headers }, async real => {
      const { change } = proxy
      if (cid === undefined || real.statusCode !== 200 || change === undefined) {
        response.writeHead(real.statusCode!, real.headers)
        real.pipe(response)
        return
      }
      const bytes = change(await buffer(real), cid)
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(bytes)
    })
    outgoing.on('error', () => incoming.socket.destroy())
    incoming.pipe(outgoing)
  }
  const proxy: KuboProxy = {
    url: await listen(t, answer, port),
    asked,
    blocks,
    delay: 0,
    change: undefined,
    instead: undefined,
    hold: which => {
      const waiting: (() => void)[] = []
      held = { waiting, which }
      return () => {
        if (held?.waiting === waiting) held = undefined
        for (const go of waiting.splice(0)) go()
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
