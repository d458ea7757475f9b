import { closeSync, openSync } from 'node:fs'
import { type IndexReader, type NodeEntry, ROOT_NODE } from '../../index/types.ts'
import { Counters } from '../counters.ts'
import { FUSE } from '../protocol/constants.ts'
import { Dispatcher } from '../protocol/dispatcher.ts'
import { IN_HEADER, READ_IN } from '../protocol/layouts.ts'
import { RequestView } from '../protocol/request.ts'
import type { ReadOnlyFs } from '../types.ts'
import { readRequest, writeReply } from './worker.ts'

/** Milliseconds at most; V8 compiles what it sees often, in a thread of its own. */
const LONGEST_MS = 100
/** Entries that are looked at for a small file and a folder. */
const SEARCHED = 200
const SMALL_BYTES = 64 * 1024
const LISTING_BYTES = 4096

/**
 * Answers the same few questions again and again before anybody asks, so that the first ones that count meet compiled
 * code: that is twice as fast. Nothing of it is counted, reported, or sent to the kernel's FUSE; where the store is empty
 * nothing happens. `index` is that of `fs`. Throws DamagedError where it is bad.
 */
export function warmUp(fs: ReadOnlyFs, index: IndexReader): void {
  const requests = [...questions(index)]
  if (requests.length === 0) return
  const dispatcher = new Dispatcher({ fs, xattr: false, counters: Counters.create(1).row(0), failed: () => {} })
  const input = Buffer.alloc(IN_HEADER.size + READ_IN.size)
  const [zeros, nothing] = [openSync('/dev/zero', 'r'), openSync('/dev/null', 'w')]
  const end = performance.now() + LONGEST_MS
  while (performance.now() < end) {
    for (const request of requests) {
      // As between two requests that came.
      index.refresh()
      readRequest(zeros, input)
      const answer = dispatcher.answer(request, request.length)
      if (typeof answer === 'number') writeReply(nothing, dispatcher.output, answer)
    }
  }
  for (const fd of [zeros, nothing]) closeSync(fd)
}

function* questions(index: IndexReader): Generator<RequestView> {
  const [path] = index.pathsAfter(ROOT_NODE)
  if (path === undefined) return
  yield question(FUSE.LOOKUP, ROOT_NODE, Buffer.from(`${path.baseName}\0`))
  if (path.kind !== 'directory') return
  const file = smallFile(index, path.firstNode, { left: SEARCHED })
  if (file === undefined) return
  yield question(FUSE.LOOKUP, file.directory, Buffer.from([...file.entry.name, 0]))
  yield question(FUSE.GETATTR, file.entry.id, Buffer.alloc(16))
  yield question(FUSE.READ, file.entry.id, range(file.entry.size))
  yield question(FUSE.READDIRPLUS, file.directory, range(LISTING_BYTES))
}

/** The first one that a walk meets. */
function smallFile(
  index: IndexReader,
  directory: NodeEntry['id'],
  search: { left: number },
): { directory: NodeEntry['id']; entry: NodeEntry } | undefined {
  for (const entry of index.entries(directory, 0)) {
    if (search.left-- <= 0) return undefined
    if (entry.kind === 'file' && entry.size > 0 && entry.size <= SMALL_BYTES) return { directory, entry }
    const below = entry.kind === 'directory' ? smallFile(index, entry.id, search) : undefined
    if (below !== undefined) return below
  }
  return undefined
}

function range(length: number): Buffer {
  const body = Buffer.alloc(READ_IN.size)
  body.writeUInt32LE(length, READ_IN.length)
  return body
}

function question(opcode: number, node: number, body: Buffer): RequestView {
  const bytes = Buffer.concat([Buffer.alloc(IN_HEADER.size), body])
  bytes.writeUInt32LE(bytes.length, IN_HEADER.len)
  bytes.writeUInt32LE(opcode, IN_HEADER.opcode)
  bytes.writeBigUInt64LE(BigInt(node), IN_HEADER.nodeid)
  const request = new RequestView(bytes)
  request.set(bytes.length)
  return request
}
