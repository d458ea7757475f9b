import { readSync, writeSync } from 'node:fs'
import { systemCode } from '../../errors.ts'
import { counter } from '../counters.ts'
import { FUSE, OPCODES } from '../protocol/constants.ts'
import type { Dispatcher } from '../protocol/dispatcher.ts'
import { RequestView } from '../protocol/request.ts'

/**
 * Bytes of a request at most: the kernel wants room for 8192, and for max_write (4096) besides the headers. More makes
 * one BATCH_FORGET carry more.
 */
const REQUEST_BYTES = 128 * 1024

export interface WorkerOptions {
  /** /dev/fuse, mounted. */
  fd: number
  dispatcher: Dispatcher
  /** This thread's row of Counters: its heartbeat is written here. */
  counters: Float64Array
  /** Lets the next request see what other processes have committed, and holds nothing while this thread waits. */
  refresh(): void
  /** True when this thread is to end. */
  retired(): boolean
  /** Takes what cannot be answered here and now: it waits for a block, or is INIT or INTERRUPT. The bytes are a copy. */
  pass(request: Buffer): void
}

/**
 * Answers requests until the mount has ended, or until this thread is retired: that is true. Blocks its thread: the
 * device is read synchronously, which costs a request one system call in and one out. Any number of threads may do so
 * on one descriptor; the kernel wakes one for each request.
 */
export function answerRequests({ fd, dispatcher, counters, refresh, retired, pass }: WorkerOptions): boolean {
  const request = new RequestView(Buffer.allocUnsafeSlow(REQUEST_BYTES))
  const { bytes } = request
  for (;;) {
    refresh()
    counters[counter.busy] = 0
    if (retired()) return true
    const length = readRequest(fd, bytes)
    if (length === undefined) return false
    if (length === 0) continue
    counters[counter.busy] = 1
    counters[counter.taken]!++
    // In what is too short for a header lie the bytes of an older request.
    const opcode = request.set(length) ? request.opcode : undefined
    if (opcode !== undefined && opcode < OPCODES) counters[opcode]!++
    const answer = opcode === FUSE.INTERRUPT || opcode === FUSE.INIT ? undefined : dispatcher.answer(request, length)
    if (typeof answer !== 'number') pass(Buffer.from(bytes.subarray(0, length)))
    else if (answer > 0) writeReply(fd, dispatcher.output, answer)
  }
}

/** Bytes of the next request; 0 where there is none after all, undefined where there will be none any more. */
export function readRequest(fd: number, input: Buffer): number | undefined {
  try {
    return readSync(fd, input, 0, input.length, null)
  } catch (error) {
    switch (systemCode(error)) {
      // A signal; the request was taken back; another thread was faster.
      case 'EINTR':
      case 'ENOENT':
      case 'EAGAIN':
        return 0
      // Unmounted, or the connection was aborted.
      case 'ENODEV':
      case 'ECONNABORTED':
        return undefined
      default:
        throw error
    }
  }
}

/** The request may be gone, by a signal to who waited or because another server has answered it: that is no error. */
export function writeReply(fd: number, reply: Buffer, length: number): void {
  try {
    writeSync(fd, reply, 0, length)
  } catch (error) {
    const code = systemCode(error)
    if (code !== 'ENOENT' && code !== 'ENODEV' && code !== 'EINTR') throw error
  }
}
