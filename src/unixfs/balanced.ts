import type { BlockWriter } from '../blocks/types.ts'
import { ByteWriter } from '../bytes.ts'
import { type CidBytes, dagPbCid, sha256 } from '../cid.ts'
import { writeBlockSize, writeFileData, writeLink } from './node.ts'
import { MAX_FILE_LINKS } from './profile.ts'

/** What a parent needs to link a DAG. */
export interface DagResult {
  cid: Buffer
  /** Content bytes. */
  size: number
  /** Bytes of its blocks, shared ones counted as often as they are linked. */
  tsize: number
}

/** A node in the making: its links and block sizes already encoded. */
interface Level {
  links: ByteWriter
  blockSizes: ByteWriter
  count: number
  size: number
  tsize: number
}

const NO_NAME = new Uint8Array(0)

/**
 * Builds the interior nodes of a file from its leaves, left to right. All leaves are equally deep, and nodes fill from
 * the left, so that what is kept is one unfinished node a level. A node is put as soon as one more link follows it.
 */
export class BalancedDag {
  readonly #writer: BlockWriter
  readonly #levels: Level[] = [newLevel()]
  /** Levels in use; those above are kept for the next file. */
  #height = 1

  constructor(writer: BlockWriter) {
    this.#writer = writer
  }

  /** Adds the next leaf: `size` content bytes. May put interior nodes. Copies the CID. */
  add(cid: CidBytes, size: number, tsize: number): void {
    this.#add(0, cid, size, tsize)
  }

  /**
   * Puts the nodes that are left and gives the root, which is a dag-pb node also for one leaf and for none.
   * The object is then ready for the next file.
   * @param mode goes on the root alone
   */
  finish(mode?: number): DagResult {
    let index = 0
    // A level can gain the one above while its last node is handed up.
    while (index < this.#height - 1) this.#flush(index++)
    const root = this.#encode(this.#levels[index]!, mode)
    this.#height = 1
    return root
  }

  #add(index: number, cid: CidBytes, size: number, tsize: number): void {
    const level = this.#levels[index]!
    if (level.count === MAX_FILE_LINKS) this.#flush(index)
    writeLink(level.links, cid, NO_NAME, tsize)
    writeBlockSize(level.blockSizes, size)
    level.count++
    level.size += size
    level.tsize += tsize
  }

  #flush(index: number): void {
    const node = this.#encode(this.#levels[index]!, undefined)
    if (index + 1 === this.#height) {
      this.#height++
      if (this.#levels.length < this.#height) this.#levels.push(newLevel())
    }
    this.#add(index + 1, node.cid, node.size, node.tsize)
  }

  /** Puts the level's node and empties the level. */
  #encode(level: Level, mode: number | undefined): DagResult {
    writeFileData(level.links, level.size, level.blockSizes.view(), mode)
    const block = level.links.view()
    const digest = sha256(block)
    this.#writer.put(digest, block)
    const result = { cid: dagPbCid(digest), size: level.size, tsize: level.tsize + block.length }
    level.links.reset()
    level.blockSizes.reset()
    level.count = 0
    level.size = 0
    level.tsize = 0
    return result
  }
}

function newLevel(): Level {
  return { links: new ByteWriter(), blockSizes: new ByteWriter(), count: 0, size: 0, tsize: 0 }
}
