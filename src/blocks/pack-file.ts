import { closeSync, constants, fdatasync, fsync, openSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { encodePackHeader, PACK_VERSION, packFileName } from './pack-format.ts'

const fsyncFile = promisify(fsync)
const fdatasyncFile = promisify(fdatasync)

/**
 * Bytes of one write. Of a larger one the kernel takes a large run of free pages for its cache, which a virtual
 * machine's host may have taken back: then each page must be asked for anew, and a gigabyte takes seconds.
 */
const WRITE_BYTES = 64 * 1024

/** After this much the disk is set to work, so that the last sync has little left to wait for. Bytes. */
const EARLY_SYNC_BYTES = 32 * 1024 * 1024

/** A pack that this process has created and appends to. */
export class PackFile {
  readonly number: number
  readonly #path: string
  readonly #fd: number
  #size = 0
  /** Bytes since the disk was last set to work. */
  #waiting = 0
  #earlySync: Promise<void> = Promise.resolve()
  /** True once something in it may be entered in the index. */
  committed = false

  private constructor(number: number, path: string, fd: number) {
    this.number = number
    this.#path = path
    this.#fd = fd
  }

  /** Throws a system error; then there is no file. */
  static create(folder: string, number: number, epoch: number): PackFile {
    const path = join(folder, packFileName(number))
    const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644)
    const file = new PackFile(number, path, fd)
    try {
      file.append([encodePackHeader({ version: PACK_VERSION, epoch, number })])
    } catch (error) {
      file.discard()
      throw error
    }
    return file
  }

  get size(): number {
    return this.#size
  }

  /** Appends the parts, all or else throws a system error: then the file must not be appended to again. */
  append(parts: Uint8Array[]): void {
    for (const part of parts) {
      for (let at = 0; at < part.length; ) {
        const written = writeSync(this.#fd, part, at, Math.min(part.length - at, WRITE_BYTES), this.#size)
        this.#size += written
        this.#waiting += written
        at += written
      }
    }
    if (this.#waiting < EARLY_SYNC_BYTES) return
    this.#waiting = 0
    this.#earlySync = this.#earlySync.then(() => fdatasyncFile(this.#fd))
    // The kernel tells of a failure once, so it is kept for sync.
    this.#earlySync.catch(() => {})
  }

  async sync(): Promise<void> {
    await this.#earlySync
    await fsyncFile(this.#fd)
  }

  /** Closes the file once nobody is waiting for the disk any more. */
  close(): void {
    const close = () => closeSync(this.#fd)
    this.#earlySync.then(close, close)
  }

  /** Removes the file, where nothing in it counts, and closes it. */
  discard(): void {
    unlinkSync(this.#path)
    this.close()
  }
}

/** Makes new names in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await fsyncFile(fd)
  } finally {
    closeSync(fd)
  }
}
