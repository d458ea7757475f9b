import { closeSync, constants, fdatasync, fsync, openSync, unlinkSync, writeSync, writev } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { encodePackHeader, PACK_HEADER_BYTES, PACK_VERSION, packFileName } from './pack-format.ts'

const fsyncFile = promisify(fsync)
const fdatasyncFile = promisify(fdatasync)
const writevFile = promisify(writev)

/** Written bytes after which the disk is told to begin, so that little is left to wait for at the end. */
const EARLY_SYNC_BYTES = 32 * 1024 * 1024

/** A pack that this process has created and appends to. */
export class PackFile {
  readonly number: number
  readonly #path: string
  readonly #fd: number
  #size = PACK_HEADER_BYTES
  #sinceSync = 0
  /** Work in other threads, each of one kind after the other. They never reject. */
  #writing: Promise<void> = Promise.resolve()
  #syncing: Promise<void> = Promise.resolve()
  /** The first one. The kernel tells of a failed write once only, to whichever sync comes first. */
  #error: unknown
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
      writeSync(fd, encodePackHeader({ version: PACK_VERSION, epoch, number }), 0, PACK_HEADER_BYTES, 0)
    } catch (error) {
      file.discard()
      throw error
    }
    return file
  }

  get size(): number {
    return this.#size
  }

  /**
   * Appends the parts in another thread; they must stay as they are until {@link written}. What goes wrong is thrown
   * by the next {@link written} or {@link sync}: then the file must not be appended to again.
   */
  append(parts: Uint8Array[]): void {
    const position = this.#size
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    this.#size += length
    this.#writing = this.#writing.then(() => this.#try(() => writeAll(this.#fd, parts, position)))
    this.#sinceSync += length
    if (this.#sinceSync >= EARLY_SYNC_BYTES) this.#syncEarly()
  }

  /** Beside the writes: what was written by then is on its way to the disk while more is read. */
  #syncEarly(): void {
    this.#sinceSync = 0
    const before = this.#syncing
    this.#syncing = this.#writing.then(() => before).then(() => this.#try(() => fdatasyncFile(this.#fd)))
  }

  /** Nothing more is done after the first error. */
  async #try(work: () => Promise<void>): Promise<void> {
    if (this.#error !== undefined) return
    try {
      await work()
    } catch (error) {
      this.#error ??= error
    }
  }

  /** Resolves when everything appended has been handed to the kernel. Throws a system error. */
  async written(): Promise<void> {
    await this.#writing
    if (this.#error !== undefined) throw this.#error
  }

  /** Throws a system error; then nothing is known of what was written since the last sync. */
  async sync(): Promise<void> {
    await this.#syncing
    await this.written()
    await fsyncFile(this.#fd)
    this.#sinceSync = 0
  }

  /** Waits for what other threads do with the file, whose number must not become another file's before. */
  close(): void {
    void Promise.all([this.#writing, this.#syncing]).then(() => closeSync(this.#fd))
  }

  /** Closes the file and removes it, where nothing in it counts. */
  discard(): void {
    this.close()
    unlinkSync(this.#path)
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

async function writeAll(fd: number, parts: Uint8Array[], position: number): Promise<void> {
  let at = position
  for (let rest = parts; rest.length > 0; ) {
    let { bytesWritten } = await writevFile(fd, rest, at)
    at += bytesWritten
    while (rest.length > 0 && bytesWritten >= rest[0]!.length) {
      bytesWritten -= rest[0]!.length
      rest = rest.slice(1)
    }
    if (bytesWritten > 0) rest = [rest[0]!.subarray(bytesWritten), ...rest.slice(1)]
  }
}
