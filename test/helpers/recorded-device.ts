import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { onCleanup, type TestScope } from './cleanup.ts'
import { decodeReply, type Reply } from './kernel-replies.ts'
import { tempFolder } from './temp.ts'

/** A file in the place of /dev/fuse: it keeps what is written to it, which begins with its length. */
export class RecordedDevice {
  readonly fd: number
  readonly #path: string
  #read = 0

  constructor(t: TestScope) {
    this.#path = join(tempFolder(t, 'device'), 'written')
    this.fd = openSync(this.#path, 'a')
    onCleanup(t, () => closeSync(this.fd))
  }

  /** What was written since this was last asked. */
  messages(): Buffer[] {
    const bytes = readFileSync(this.#path)
    const found: Buffer[] = []
    while (this.#read < bytes.length) {
      const length = bytes.readUInt32LE(this.#read)
      found.push(bytes.subarray(this.#read, this.#read + length))
      this.#read += length
    }
    return found
  }

  replies(): Reply[] {
    return this.messages().map(decodeReply)
  }
}
