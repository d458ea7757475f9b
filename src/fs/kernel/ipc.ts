import type { ServerStatus } from '../status.ts'

/**
 * What supervisor and server say to each other, as JSON over Node's IPC channel. The order of a life:
 *
 *     server      ready                 everything is open and one thread waits: it could start at once
 *     server      warm                  all its threads wait and have warmed up; before or after it starts
 *     supervisor  start                 the old server is surely dead, or there was none
 *     server      negotiated            only where INIT was not answered before: what it is about to answer
 *     supervisor  kept                  that is safe now
 *     server      serving               its threads read the device
 *     supervisor  status        server  status     any number of times
 *     server      highest               the highest node id in the index has risen
 *     server      ended                 the device says that it is unmounted
 *     server      stuck                 a thread of its does not come back; end it, another may fare better
 *     server      failed                it must not go on, and another would fail in the same way: end the mount
 */

/** Answer to INIT, struct fuse_init_out, in hexadecimal. The kernel never asks a second time (fuse(4) resend). */
export type Negotiated = string

export type FromSupervisor =
  | {
      type: 'start'
      /** What an earlier server has answered to INIT; undefined where none has. */
      negotiated: Negotiated | undefined
      /** True where an earlier server may have taken requests that it has not answered. */
      resend: boolean
      /** The highest node id any server has seen; an index that ends below it was rolled back. 0 for none. */
      highestNode: number
    }
  | { type: 'kept' }
  | { type: 'status'; id: number }

export type FromServer =
  | { type: 'ready' }
  | { type: 'warm' }
  | { type: 'negotiated'; negotiated: Negotiated }
  /** `resend` is false where the kernel does not know FUSE_NOTIFY_RESEND (before Linux 6.9): nobody reads then. */
  | { type: 'serving'; resend: boolean }
  | { type: 'highest'; node: number }
  | { type: 'status'; id: number; status: ServerStatus }
  | { type: 'ended' }
  | { type: 'stuck' }
  | { type: 'failed'; why: string }
