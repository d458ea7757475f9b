import { MAX_NAME_BYTES } from '../../nix/tree.ts'
import { blocksOf, IO_BYTES, modeOf, NIX_TIME } from '../attributes.ts'
import type { Attributes, FsUsage } from '../types.ts'
import { ATTR, ATTR_OUT, ENTRY_OUT, OUT_HEADER, STATFS_OUT } from './layouts.ts'

/** Seconds; the kernel cuts it to what its clock can count. */
const FOR_EVER_HIGH = 0x7fffffff

/** A buffer in which one reply after the other is made: struct fuse_out_header and a body. */
export class ReplyBuffer {
  readonly bytes: Buffer
  readonly #view: DataView

  /** With room for a body of `bodyBytes`. */
  constructor(bodyBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(OUT_HEADER.size + bodyBytes)
    this.#view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
  }

  u32(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
  }

  u64(at: number, value: number): void {
    this.#view.setUint32(at, value, true)
    this.#view.setUint32(at + 4, Math.floor(value / 0x100000000), true)
  }

  /**
   * Writes the header of a reply to the request with this `unique`, given in two halves. `error` is an errno, or 0.
   * Gives the length of the whole reply.
   */
  header(bodyBytes: number, error: number, uniqueLow: number, uniqueHigh: number): number {
    const length = OUT_HEADER.size + bodyBytes
    this.u32(OUT_HEADER.len, length)
    this.#view.setInt32(OUT_HEADER.error, -error, true)
    this.u32(OUT_HEADER.unique, uniqueLow)
    this.u32(OUT_HEADER.unique + 4, uniqueHigh)
    return length
  }

  /** struct fuse_entry_out: a node under its name, to be believed for ever. */
  entry(at: number, node: Attributes): void {
    this.u64(at + ENTRY_OUT.nodeid, node.id)
    this.#entryTimes(at)
    this.attributes(at + ENTRY_OUT.attr, node)
  }

  /** A fuse_entry_out without a node: there is no such name, which is to be believed for ever. */
  noEntry(at: number): void {
    this.bytes.fill(0, at, at + ENTRY_OUT.size)
    this.#entryTimes(at)
  }

  #entryTimes(at: number): void {
    this.u64(at + ENTRY_OUT.generation, 0)
    this.#forEver(at + ENTRY_OUT.entryValid)
    this.#forEver(at + ENTRY_OUT.attrValid)
    this.u32(at + ENTRY_OUT.entryValidNsec, 0)
    this.u32(at + ENTRY_OUT.attrValidNsec, 0)
  }

  #forEver(at: number): void {
    this.u32(at, 0xffffffff)
    this.u32(at + 4, FOR_EVER_HIGH)
  }

  /** struct fuse_attr_out. */
  attrOut(at: number, node: Attributes): void {
    this.#forEver(at + ATTR_OUT.attrValid)
    this.u64(at + ATTR_OUT.attrValidNsec, 0)
    this.attributes(at + ATTR_OUT.attr, node)
  }

  /** struct fuse_attr. */
  attributes(at: number, node: Attributes): void {
    this.u64(at + ATTR.ino, node.id)
    this.u64(at + ATTR.bytes, node.size)
    this.u64(at + ATTR.blocks, blocksOf(node.size))
    this.u64(at + ATTR.atime, NIX_TIME)
    this.u64(at + ATTR.mtime, NIX_TIME)
    this.u64(at + ATTR.ctime, NIX_TIME)
    this.u64(at + ATTR.atimensec, 0)
    this.u32(at + ATTR.ctimensec, 0)
    this.u32(at + ATTR.mode, modeOf(node))
    this.u32(at + ATTR.nlink, 1)
    this.u64(at + ATTR.uid, 0)
    this.u32(at + ATTR.rdev, 0)
    this.u32(at + ATTR.blksize, IO_BYTES)
    this.u32(at + ATTR.flags, 0)
  }

  /** struct fuse_statfs_out. */
  statfs(at: number, { blockSize, blocks, free, available }: FsUsage): void {
    this.bytes.fill(0, at, at + STATFS_OUT.size)
    this.u64(at + STATFS_OUT.blocks, blocks)
    this.u64(at + STATFS_OUT.bfree, free)
    this.u64(at + STATFS_OUT.bavail, available)
    this.u32(at + STATFS_OUT.bsize, blockSize)
    this.u32(at + STATFS_OUT.frsize, blockSize)
    this.u32(at + STATFS_OUT.namelen, MAX_NAME_BYTES)
  }
}
