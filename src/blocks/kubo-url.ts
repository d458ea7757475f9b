import { UsageError } from '../errors.ts'

/** The URL in `kubo:<URL>`, without a slash at its end. Throws UsageError. */
export function kuboUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new UsageError(`kubo:${text}: is not the URL of an RPC API, such as kubo:http://127.0.0.1:5001`)
  // It is shown in messages and kept in the state, and fetch refuses it anyway.
  if (url.username !== '' || url.password !== '')
    throw new UsageError(`kubo:${url.protocol}//...@${url.host}: user and password cannot be part of the URL`)
  return url.href.replace(/\/+$/, '')
}
