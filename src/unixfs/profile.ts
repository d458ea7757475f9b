/**
 * The one way this program turns bytes into a UnixFS DAG: profile `unixfs-v1-2025`, with CIDv1, sha2-256, raw leaves
 * and balanced files. https://github.com/ipfs/specs/blob/main/IPIP/0499.md
 * Changing a figure here changes every CID.
 */

/** A file is cut in chunks of this many bytes, the last one short. */
export const CHUNK_BYTES = 1024 * 1024

/** Most links of an interior node of a file. */
export const MAX_FILE_LINKS = 1024

/** A directory whose only block would have more bytes than this is sharded. */
export const MAX_FLAT_DIRECTORY_BYTES = 256 * 1024

/** Buckets of a shard. */
export const SHARD_FANOUT = 256

/** The mode on the root of an executable file. Nothing else carries a mode. */
export const EXECUTABLE_MODE = 0o555
