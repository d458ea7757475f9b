import type { BlockWriter } from '../blocks/types.ts'
import { ByteWriter } from '../bytes.ts'
import { type CidBytes, codec, MAX_IDENTITY_BYTES, multihashCode } from '../cid.ts'
import { BalancedDag, type DagResult } from './balanced.ts'

/** Framing is cut early once this much of it waits, so that a tree without contents needs no more memory. Bytes. */
const MAX_PENDING_FRAMING = 16 * 1024

/**
 * Builds the NAR DAG: a UnixFS file whose bytes are a NAR and whose leaves are the leaves of the tree itself, with
 * the framing between two contents as raw identity CIDs of exactly 128 bytes and a rest. Identity links have Tsize 0,
 * for they add no block. An empty file has no leaf and so does not cut the framing.
 */
export class NarDag {
  readonly #dag: BalancedDag
  readonly #framing = new ByteWriter(4096)
  /** CIDv1 of the piece that is being added: version, codec, identity, length, bytes. */
  readonly #piece = Buffer.alloc(5 + MAX_IDENTITY_BYTES)

  constructor(writer: BlockWriter) {
    this.#dag = new BalancedDag(writer)
    this.#piece[0] = 1
    this.#piece[1] = codec.raw
    this.#piece[2] = multihashCode.identity
  }

  /** The next bytes of the NAR that are no file contents. Copies them. May put interior nodes. */
  framing(bytes: Uint8Array): void {
    this.#framing.bytes(bytes)
    if (this.#framing.length >= MAX_PENDING_FRAMING) this.#cut(false)
  }

  /** The next `size` bytes of the NAR are this raw block of the tree; `size` is not 0. May put interior nodes. */
  leaf(cid: CidBytes, size: number): void {
    this.#cut(true)
    this.#dag.add(cid, size, size)
  }

  finish(): DagResult {
    this.#cut(true)
    return this.#dag.finish()
  }

  /** Adds the framing that waits, with or without the piece that is not full yet. */
  #cut(all: boolean): void {
    const waiting = this.#framing.view()
    let at = 0
    for (; waiting.length - at >= MAX_IDENTITY_BYTES; at += MAX_IDENTITY_BYTES) {
      this.#add(waiting, at, MAX_IDENTITY_BYTES)
    }
    const rest = waiting.length - at
    if (all && rest > 0) this.#add(waiting, at, rest)
    this.#framing.reset()
    // Bytes that stay move to the front: the view is of the writer's own memory.
    if (!all && rest > 0) this.#framing.bytes(waiting.subarray(at))
  }

  #add(bytes: Buffer, at: number, length: number): void {
    const piece = this.#piece
    // 128 is the one length that takes a second varint byte.
    const head = length < 128 ? 4 : 5
    piece[3] = length < 128 ? length : 0x80
    if (head === 5) piece[4] = 1
    bytes.copy(piece, head, at, at + length)
    this.#dag.add(piece.subarray(0, head + length), length, 0)
  }
}
