import { asBuffer } from '../bytes.ts'
import type { CidBytes } from '../cid.ts'
import type { FileNode, Miss, StoreReader } from './reader.ts'

/** Files up to this size are fetched whole at their first read, bytes. */
const SMALL_FILE_BYTES = 1024 * 1024
/** First bytes of an ELF file, elf(5). */
const ELF_MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46])
/** Blocks of one file that are fetched at once. */
const CONCURRENCY = 8
/** Files of which it is remembered that they were fetched whole. */
const REMEMBERED = 1024

/**
 * Brings what reads have missed. Programs and libraries are mapped, and a page of a map that cannot be read is SIGBUS
 * for who runs them: so an ELF file comes whole, at its first read, where a failure is still an error of that read.
 */
export class Fetcher {
  readonly #reader: StoreReader
  readonly #whole = new Map<string, Promise<void>>()

  constructor(reader: StoreReader) {
    this.#reader = reader
  }

  /** Resolves when the read may be tried again. Throws MissingBlockError, IntegrityError, BlockStoreError. */
  async fetch({ cid, file }: Miss): Promise<void> {
    if (file === undefined || !this.#reader.isHeldBack(file)) await this.#reader.fetch(cid)
    if (file === undefined || !this.#comesWhole(file)) return
    const key = asBuffer(file.cid).toString('latin1')
    let fetching = this.#whole.get(key)
    if (fetching === undefined) {
      fetching = this.#fetchWhole(file)
      this.#whole.set(key, fetching)
      if (this.#whole.size > REMEMBERED) this.#whole.delete(this.#whole.keys().next().value!)
      fetching.catch(() => this.#whole.delete(key))
    }
    await fetching
  }

  /** Known by its first block, once that is here: what maps a file reads its start first. */
  #comesWhole(file: FileNode): boolean {
    if (file.size <= SMALL_FILE_BYTES || this.#reader.isHeldBack(file)) return true
    const magic = Buffer.alloc(ELF_MAGIC.length)
    return this.#reader.read(file, 0, magic.length, magic, 0) === magic.length && magic.equals(ELF_MAGIC)
  }

  /** Until all of it is here none of it is read: who got its start would map the rest, and die of what is missing. */
  async #fetchWhole(file: FileNode): Promise<void> {
    this.#reader.holdBack(file)
    const missing = this.#missing(file)
    const take = async () => {
      for (const cid of missing) await this.#reader.fetch(cid)
    }
    await Promise.all(Array.from({ length: CONCURRENCY }, take))
    this.#reader.letGo(file)
  }

  *#missing(file: FileNode): Generator<CidBytes> {
    for (const { cid } of this.#reader.index.leaves(file.cid, file.size, 0, file.size)) {
      if (!this.#reader.hasBlock(cid)) yield cid
    }
  }
}
