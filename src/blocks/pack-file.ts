import { closeSync, constants, fsync, openSync, unlinkSync, writevSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { encodePackHeader, PACK_HEADER_BYTES, PACK_VERSION, packFileName } from './pack-format.ts'

const fsyncFile = promisify(fsync)

/** A pack that this process has created and appends to. */
export class PackFile {
  readonly number: number
  readonly #path: string
  readonly #fd: number
  #size = PACK_HEADER_BYTES
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
      file.#write([encodePackHeader({ version: PACK_VERSION, epoch, number })], 0)
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
    this.#size += this.#write(parts, this.#size)
  }

  #write(parts: Uint8Array[], position: number): number {
    let done = 0
    for (let rest = parts; rest.length > 0; ) {
      let written = writevSync(this.#fd, rest, position + done)
      done += written
      while (rest.length > 0 && written >= rest[0]!.length) {
        written -= rest[0]!.length
        rest = rest.slice(1)
      }
      if (written > 0) rest = [rest[0]!.subarray(written), ...rest.slice(1)]
    }
    return done
  }

  sync(): Promise<void> {
    return fsyncFile(this.#fd)
  }

  close(): void {
    closeSync(this.#fd)
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
