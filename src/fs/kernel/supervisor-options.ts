import type { Logger } from '../../log.ts'
import type { Negotiated } from './ipc.ts'

/** What a supervisor does not do itself. */
export interface SupervisorOptions {
  mountpoint: string
  /** Program and arguments of a server. */
  command: readonly string[]
  openDevice(): number
  /** Mounts the device: at the start, and another where the kernel cannot resend. Throws MountError. */
  mount(fd: number): Promise<void>
  /** Takes the mount away, also where it is busy. Throws MountError. */
  unmount(): Promise<void>
  /** False when somebody else has unmounted it; who has files open there goes on reading them till then. */
  isMounted(): boolean
  closeDevice(fd: number): void
  /** Keeps what the next server must know where a crash of ours would leave it. */
  keep(state: { negotiated: Negotiated | undefined; highestNode: number }): void
  /** A server has begun to answer. */
  answers(): void
  /** Whether a second server waits, ready to take over. */
  standby: boolean
  log: Logger
}
