import { createHash } from 'node:crypto'
import type { BlockWriter } from '../blocks/types.ts'
import { type CidBytes, cidText, dagPbCid } from '../cid.ts'
import { DamagedError } from '../errors.ts'
import type { PathRecord } from '../index/types.ts'
import { narHashText } from '../nix/hash.ts'
import { NarWriter } from '../nix/nar-writer.ts'
import { isRaw } from '../unixfs/get-block.ts'
import { NarDag } from '../unixfs/nar-dag.ts'
import { decodeNode } from '../unixfs/node.ts'
import type { BlockCheck } from './block-check.ts'
import { nodesInNarOrder } from './nar-source.ts'
import type { StoreReader } from './reader.ts'

/** What stands for a leaf that is not here: the framing after it is told all the same. */
const ABSENT = Buffer.alloc(64 * 1024)

/**
 * Renders the NAR from an index that agrees with the tree, and with it makes the nodes of the NAR DAG anew: each must
 * be here, also below one that is not. Leaves were hashed before, so their bytes are only held against the narHash.
 */
export async function checkNar(store: StoreReader, record: PathRecord, check: BlockCheck): Promise<void> {
  const hash = createHash('sha256')
  let size = 0
  let complete = true
  const made = new MadeNodes()
  const dag = new NarDag(made)
  const writer = new NarWriter({
    framing: bytes => {
      hash.update(bytes)
      dag.framing(bytes)
      size += bytes.length
    },
    contents: bytes => {
      hash.update(bytes)
      size += bytes.length
    },
  })
  for (const step of nodesInNarOrder(store, record)) {
    if (step === undefined) writer.endDirectory()
    else if (step.node.kind === 'directory') writer.directory(step.name)
    else if (step.node.kind === 'symlink') writer.symlink(step.name, step.node.target)
    else {
      const { node } = step
      writer.file(step.name, node.executable, node.size)
      for (const { cid, start, length } of store.index.leaves(node.cid, node.size, 0, node.size)) {
        dag.leaf(cid, length)
        const bytes = await check.load(cid, '')
        const part = bytes?.subarray(start, start + length)
        if (part?.length === length) writer.contents(part)
        else {
          complete = false
          for (let left = length; left > 0; left -= ABSENT.length) writer.contents(ABSENT.subarray(0, left))
        }
        if (record.nar !== undefined) await made.check(check)
      }
      writer.endFile()
    }
  }
  writer.finish()
  const { cid } = dag.finish()
  await check.guard('nar', record.root, '', () => {
    const digest = hash.digest()
    if (!complete) return
    if (!digest.equals(record.narHash))
      throw new DamagedError(`the NAR has narHash ${narHashText(digest)}, not ${narHashText(record.narHash)}`)
    if (size !== record.narSize) throw new DamagedError(`the NAR has ${size} bytes, not ${record.narSize}`)
  })
  const { nar } = record
  if (nar === undefined) return
  await made.check(check)
  if (Buffer.compare(cid, nar) === 0) return
  await check.guard('nar', nar, '', () => {
    throw new DamagedError(`the NAR DAG of this tree is ${cidText(cid)}, not ${cidText(nar)}`)
  })
  await checkNarNodes(nar, check)
}

/** Looks at each node of a NAR DAG that can be reached, without its leaves, which are the tree's. */
export async function checkNarNodes(nar: CidBytes, check: BlockCheck): Promise<void> {
  const stack = [nar]
  for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) {
    const bytes = await check.load(cid, '')
    if (bytes === undefined) continue
    await check.guard('nar', cid, '', () => {
      for (const link of decodeNode(bytes).links.toReversed()) if (!isRaw(link.cid)) stack.push(link.cid)
    })
  }
}

/** Takes the nodes of a DAG that is made to be compared, and not to be stored. */
class MadeNodes implements BlockWriter {
  #room = Buffer.alloc(0)
  #digests: Buffer[] = []

  reserve(size: number): Buffer {
    if (this.#room.length < size) this.#room = Buffer.allocUnsafe(size)
    return this.#room
  }

  put(digest: Uint8Array): void {
    this.#digests.push(Buffer.from(digest))
  }

  /** Looks for those that were made since the last time. */
  async check(check: BlockCheck): Promise<void> {
    for (const digest of this.#digests.splice(0)) await check.load(dagPbCid(digest), '')
  }
}
