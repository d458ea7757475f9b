/** The memory that a leaf hasher and its thread share: 32-bit words, then a digest of 32 bytes. */
export const control = {
  /** Index of the word that says whose turn it is. */
  state: 0,
  /** Of the chunk in the memory that was sent last, bytes. */
  offset: 1,
  length: 2,
  /** Rises with each memory that is sent. */
  generation: 3,
  /** Not 0 while the thread, or its user, sleeps until the state changes and must be woken. */
  threadSleeps: 4,
  userSleeps: 5,
  digestOffset: 24,
  bytes: 56,

  // States. The thread is not there yet; it waits for work; it has some; the digest is there.
  starting: 0,
  idle: 1,
  job: 2,
  done: 3,
} as const

export interface LeafHashJob {
  memory: SharedArrayBuffer
}

/** How long each side looks before it sleeps: waking a thread on another processor takes about as long as a hash. */
const SPIN_MS = 2

/** Returns when the state is no longer `state`, or after `patience` milliseconds. */
export function awaitChange(words: Int32Array, state: number, sleeps: number, patience: number): void {
  const end = performance.now() + SPIN_MS
  while (performance.now() < end) if (Atomics.load(words, control.state) !== state) return
  Atomics.store(words, sleeps, 1)
  // Returns at once where the state changed before the other side could see that somebody sleeps.
  Atomics.wait(words, control.state, state, patience)
  Atomics.store(words, sleeps, 0)
}

/** Changes the state, and wakes the other side if it sleeps. */
export function changeState(words: Int32Array, state: number, sleeps: number): void {
  Atomics.store(words, control.state, state)
  if (Atomics.load(words, sleeps) !== 0) Atomics.notify(words, control.state)
}
