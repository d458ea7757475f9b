/** Something that went wrong, and when (ISO 8601). */
export interface RecentError {
  time: string
  message: string
}

/** The server's part of what `status` shows. */
export interface ServerStatus {
  pid: number
  /** Version of the program. */
  version: string
  /** ISO 8601: since when it serves. */
  since: string
  /** FUSE requests by name (`LOOKUP`), and their sum. */
  requests: Record<string, number>
  messages: number
  /** Requests that had to wait for a block. */
  misses: number
  /** Of these, how many wait now. */
  inFlight: number
  /** Bytes answered to READ. */
  bytesRead: number
  /** By source, such as `kubo:http://127.0.0.1:5001`: what was fetched because it was missing. */
  fetched: Record<string, { blocks: number; bytes: number }>
  /** Requests that were answered with EIO because something failed, and those that made no sense. */
  failures: number
  malformed: number
  /** The last failures, the newest last, at most 10. */
  lastErrors: RecentError[]
  /** Paths that the index knows. */
  paths: number
}

/** What `status` answers for one mount. */
export interface MountStatus extends ServerStatus {
  mountpoint: string
  /** State folder. */
  state: string
  driver: 'kernel' | 'libfuse'
  /** The process that holds the mount; the same as `pid` where there is no supervisor. */
  supervisor: number
  /** ISO 8601, of the mount. */
  mounted: string
  /** Times that another server took over, of which `upgrades` were asked for. */
  restarts: number
  upgrades: number
  /** A standby server is ready to take over. */
  standby: boolean
}

/** The failures that are shown: few, and the newest. */
const KEPT_ERRORS = 10

export class RecentErrors {
  readonly #errors: RecentError[] = []

  add(message: string): void {
    if (this.#errors.length === KEPT_ERRORS) this.#errors.shift()
    this.#errors.push({ time: new Date().toISOString(), message })
  }

  /** The newest last. */
  list(): RecentError[] {
    return [...this.#errors]
  }
}
