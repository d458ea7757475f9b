import type { TestScope } from './cleanup.ts'
import { answerAll, type FixedAnswer, listen } from './kubo-proxy.ts'

/** What answers at an address where a Kubo was expected, and what a message must say of it. */
export const strangers: readonly (FixedAnswer & { what: string; says: RegExp })[] = [
  { what: 'a web site', status: 200, type: 'text/html', body: '<html>\nwelcome</html>', says: /not answer as Kubo/ },
  { what: 'nothing there', status: 404, type: 'text/plain', body: '404 page\nnot found', says: /not answer as Kubo/ },
  { what: 'no POST', status: 405, type: 'text/plain', body: '', says: /not answer as Kubo/ },
  { what: 'cut JSON', status: 200, type: 'application/json', body: '{"Version": "0.4', says: /not answer as Kubo/ },
  { what: 'other JSON', status: 200, type: 'application/json', body: '{"ok": true}', says: /not answer as Kubo/ },
  { what: 'JSON null', status: 200, type: 'application/json', body: 'null', says: /not answer as Kubo/ },
  { what: 'an empty answer', status: 200, type: 'application/json', body: '', says: /not answer as Kubo/ },
  { what: 'a password wanted', status: 401, type: 'text/plain', body: '', says: /wants authorisation .*401/ },
  { what: 'a refusal', status: 403, type: 'text/plain', body: '403 - Forbidden', says: /wants authorisation .*403/ },
  { what: 'a failing proxy', status: 502, type: 'text/html', body: '<h1>Bad\nGateway</h1>', says: /Bad Gateway/ },
  {
    what: 'a Kubo error',
    status: 500,
    type: 'application/json',
    body: '{"Message":"repo is full"}',
    says: /repo is full/,
  },
]

/** A server that gives everybody the same answer; its base URL. */
export function stranger(t: TestScope, answer: FixedAnswer): Promise<string> {
  return listen(t, answerAll(answer))
}

/** A server that takes every request and never answers. */
export function silentServer(t: TestScope): Promise<string> {
  return listen(t, incoming => incoming.resume())
}
