/**
 * A store object as a stream of events in NAR order: a directory's entries come sorted bytewise by name, each
 * before the next. The NAR reader and the folder walker produce it, the NAR writer and the UnixFS builder take it.
 * The root comes first, with an empty name. Implementations throw on a sequence that is no tree.
 *
 * Everything is synchronous: there is no promise per entry, and a producer that must wait does so between events.
 */
export interface TreeSink {
  /** Enters a directory: what follows until the matching {@link endDirectory} lies in it. */
  directory(name: Uint8Array): void
  endDirectory(): void
  /** Begins a regular file of `size` bytes, which follow in {@link contents} calls and end with {@link endFile}. */
  file(name: Uint8Array, executable: boolean, size: number): void
  /** The next bytes of the file. The callee copies what it keeps. */
  contents(bytes: Uint8Array): void
  endFile(): void
  symlink(name: Uint8Array, target: Uint8Array): void
}

export const EMPTY_NAME: Uint8Array = new Uint8Array(0)

/** Longest name in a directory, in bytes (NAME_MAX of Linux). */
export const MAX_NAME_BYTES = 255
/** Longest symlink target, in bytes (PATH_MAX of Linux less its NUL). */
export const MAX_TARGET_BYTES = 4095
/** Deepest nesting of directories that is taken, the root counting as 1. */
export const MAX_DEPTH = 2048

export type NodeKind = 'directory' | 'file' | 'symlink'
