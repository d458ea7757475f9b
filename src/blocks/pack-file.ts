import { closeSync, constants, fsync, openSync, unlinkSync, write, writeSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemCode } from '../errors.ts'
import { encodePackHeader, PACK_VERSION, packFileName } from './pack-format.ts'

const fsyncFile = promisify(fsync)
const writeFile = promisify(write)

/**
 * Bytes of one write into the kernel's cache. Of a larger one the kernel takes a large run of free pages, which a
 * virtual machine's host may have taken back: then each page must be asked for anew, and a gigabyte takes seconds.
 */
const WRITE_BYTES = 64 * 1024

/** Direct writes begin and end at a multiple of this, in the file and in memory. No common disk asks for more. */
export const PAGE_BYTES = 4096

/** Less than this is not worth a wait for the disk before the sync. Bytes. */
const MIN_DIRECT_BYTES = 1024 * 1024

/** Memory from which direct writes can be made: it begins at a page, and other threads may see it. */
export function pageAlignedBuffer(bytes: number): Buffer {
  // Only memory that may grow is mapped by itself and begins at a page; all other begins behind malloc's own header.
  const memory = new SharedArrayBuffer(bytes, { maxByteLength: bytes })
  return Buffer.from(memory, 0, bytes)
}

/** A pack that this process has created and appends to. */
export class PackFile {
  readonly number: number
  readonly #path: string
  readonly #fd: number
  /** The same file past the kernel's cache: opened when it is first needed, undefined where that cannot be done. */
  #direct: number | undefined
  #directTried = false
  #size = 0
  /** Direct writes that have not come back. */
  #underWay = 0
  #closing = false
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
      this.#write(part, this.#size)
      this.#size += part.length
    }
  }

  /**
   * Appends as {@link append}, whole pages past the kernel's cache if that can be done: it costs a tenth of the time of
   * the processor, and leaves nothing to be waited for. That needs memory of {@link pageAlignedBuffer} that lies to its
   * pages as the end of the file lies to the file's. Undefined where all is done; else a promise until which the memory
   * must stay as it is, rejected with a system error.
   */
  appendDirect(data: Buffer): Promise<void> | undefined {
    const start = this.#size
    const first = (PAGE_BYTES - (start % PAGE_BYTES)) % PAGE_BYTES
    const end = data.length - ((start + data.length) % PAGE_BYTES)
    const inPages = end - first >= MIN_DIRECT_BYTES && (data.byteOffset + first) % PAGE_BYTES === 0
    const direct = inPages ? this.#openDirect() : undefined
    if (direct === undefined) {
      this.append([data])
      return undefined
    }
    this.#size += data.length
    // The pages that it shares with what comes before and after are the cache's, of which a direct write knows nothing.
    this.#write(data.subarray(0, first), start)
    this.#write(data.subarray(end), start + end)
    return this.#writeDirect(direct, data.subarray(first, end), start + first)
  }

  #openDirect(): number | undefined {
    if (!this.#directTried) {
      this.#directTried = true
      try {
        this.#direct = openSync(this.#path, constants.O_WRONLY | constants.O_DIRECT)
      } catch {
        // Then all goes through the cache.
      }
    }
    return this.#direct
  }

  async #writeDirect(fd: number, data: Buffer, position: number): Promise<void> {
    this.#underWay++
    try {
      const written = await writeAll(fd, data, position)
      this.#write(data.subarray(written), position + written)
    } finally {
      this.#underWay--
      if (this.#closing) this.close()
    }
  }

  #write(data: Uint8Array, position: number): void {
    for (let at = 0; at < data.length; ) {
      at += writeSync(this.#fd, data, at, Math.min(data.length - at, WRITE_BYTES), position + at)
    }
  }

  /** Waits for the disk; direct writes must have come back. */
  async sync(): Promise<void> {
    await fsyncFile(this.#fd)
  }

  /** Closes the file once nothing is being written any more. */
  close(): void {
    this.#closing = true
    if (this.#underWay > 0) return
    closeSync(this.#fd)
    if (this.#direct !== undefined) closeSync(this.#direct)
  }

  /** Removes the file, where nothing in it counts, and closes it. */
  discard(): void {
    unlinkSync(this.#path)
    this.close()
  }
}

/** Bytes written: all, or as many as the disk takes directly. Throws a system error. */
async function writeAll(fd: number, data: Buffer, position: number): Promise<number> {
  let written = 0
  try {
    while (written < data.length) {
      written += (await writeFile(fd, data, written, data.length - written, position + written)).bytesWritten
    }
  } catch (error) {
    // It wants larger pages, or those to be whole that a short write has left.
    if (systemCode(error) !== 'EINVAL') throw error
  }
  return written
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
