/** The memory that a leaf hasher and its thread share: 32-bit words, then a digest of 32 bytes. */
export const control = {
  /** Index of the word that says whose turn it is. */
  state: 0,
  /** Of the chunk in the memory that was sent last, bytes. */
  offset: 1,
  length: 2,
  /** Rises with each memory that is sent. */
  generation: 3,
  digestOffset: 16,
  bytes: 48,

  // States. The thread is not there yet; it waits for work; it has some; the digest is there.
  starting: 0,
  idle: 1,
  job: 2,
  done: 3,
} as const

export interface LeafHashJob {
  memory: SharedArrayBuffer
}
