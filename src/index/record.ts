import { asBuffer, ByteReader, ByteWriter, bytesToText, textToBytes } from '../bytes.ts'
import { readCid } from '../cid.ts'
import { FormatError } from '../errors.ts'
import type { NodeKind } from '../nix/tree.ts'
import { type NodeId, type PathRecord, trustLevels } from './types.ts'

/**
 * A path record. Little-endian; `sized` is a varint length and the bytes. The base name is not in it: it is the key.
 *
 *     0   u8    version, 1
 *     1   u8    flags: bits 0-1 kind (0 directory, 1 file, 2 symlink), 2 executable, 3 has NAR DAG, 4 has deriver,
 *               5 has CA
 *     2   u8    trust, as its place in trustLevels
 *     3   u8    0
 *     4   u64   first node id
 *     12  u64   size of the root as stat says
 *     20  u64   number of nodes
 *     28  u64   total size of its files
 *     36  u64   NAR size
 *     44  u64   registration time
 *     52  32    sha2-256 of the NAR
 *     84  sized root CID; then, each if flagged, sized NAR DAG CID, sized deriver, sized CA;
 *         varint number and sized references; varint number and sized signatures
 */
const VERSION = 1

export const kinds: readonly NodeKind[] = ['directory', 'file', 'symlink']
export const KIND_MASK = 0x03
export const EXECUTABLE_FLAG = 0x04
const NAR_FLAG = 0x08
const DERIVER_FLAG = 0x10
const CA_FLAG = 0x20
const KNOWN_FLAGS = 0x3f

const HASH_BYTES = 32

/** Hash part, `-`, a name: all that matters here is that it can be a key and one name in a folder. */
const baseNamePattern = /^[0-9a-z]{32}-[\x21-\x2e\x30-\x7e]{1,220}$/

/** Throws FormatError unless the text can be a store path's base name. */
export function checkBaseName(baseName: string): void {
  if (!baseNamePattern.test(baseName)) {
    throw new FormatError(`${JSON.stringify(baseName)} is not the base name of a store path`)
  }
}

/** Throws FormatError where the record holds what the format cannot. */
export function encodeRecord(record: PathRecord): Buffer {
  checkBaseName(record.baseName)
  for (const cid of [record.root, record.nar]) {
    if (cid !== undefined && !isCid(asBuffer(cid))) throw new FormatError(`${record.baseName}: malformed CID`)
  }
  if (record.narHash.length !== HASH_BYTES) throw new FormatError(`${record.baseName}: narHash is not 32 bytes`)
  const flags =
    kinds.indexOf(record.kind) |
    (record.executable ? EXECUTABLE_FLAG : 0) |
    (record.nar ? NAR_FLAG : 0) |
    (record.deriver === undefined ? 0 : DERIVER_FLAG) |
    (record.ca === undefined ? 0 : CA_FLAG)
  const writer = new ByteWriter(512).u8(VERSION).u8(flags).u8(trustLevels.indexOf(record.trust)).u8(0)
  for (const number of numbersOf(record)) writer.u64(number)
  writer.bytes(record.narHash).sized(record.root)
  if (record.nar) writer.sized(record.nar)
  if (record.deriver !== undefined) writer.sized(textToBytes(record.deriver))
  if (record.ca !== undefined) writer.sized(textToBytes(record.ca))
  for (const list of [record.references, record.signatures]) {
    writer.varint(list.length)
    for (const text of list) writer.sized(textToBytes(text))
  }
  return writer.finish()
}

function numbersOf(record: PathRecord): number[] {
  const { firstNode, size, entries, totalSize, narSize, registrationTime } = record
  const numbers = [firstNode, size, entries, totalSize, narSize, registrationTime]
  if (!numbers.every(number => Number.isSafeInteger(number) && number >= 0)) {
    throw new FormatError(`${record.baseName}: a size, count or time is not a whole number from 0 to 2^53 - 1`)
  }
  return numbers
}

/** The record under this base name; undefined where the bytes are none. The result holds copies. */
export function decodeRecord(baseName: string, bytes: Uint8Array): PathRecord | undefined {
  const reader = new ByteReader(Buffer.from(bytes))
  const version = reader.u8()
  const flags = reader.u8()
  const trustLevel = reader.u8()
  const zero = reader.u8()
  if (version !== VERSION || flags === undefined || (flags & ~KNOWN_FLAGS) !== 0 || zero !== 0) return undefined
  const kind = kinds[flags & KIND_MASK]
  const executable = (flags & EXECUTABLE_FLAG) !== 0
  const trust = trustLevels[trustLevel ?? -1]
  if (kind === undefined || (executable && kind !== 'file') || trust === undefined) return undefined
  const firstNode = reader.u64() as NodeId | undefined
  const size = reader.u64()
  const entries = reader.u64()
  const totalSize = reader.u64()
  const narSize = reader.u64()
  const registrationTime = reader.u64()
  const narHash = reader.take(HASH_BYTES)
  const root = cidOf(reader)
  const nar = flags & NAR_FLAG ? cidOf(reader) : undefined
  const deriver = flags & DERIVER_FLAG ? textOf(reader) : undefined
  const ca = flags & CA_FLAG ? textOf(reader) : undefined
  const references = listOf(reader)
  const signatures = listOf(reader)
  if (
    firstNode === undefined ||
    size === undefined ||
    !entries ||
    totalSize === undefined ||
    narSize === undefined ||
    registrationTime === undefined ||
    narHash === undefined ||
    root === undefined ||
    (nar === undefined) !== !(flags & NAR_FLAG) ||
    (deriver === undefined) !== !(flags & DERIVER_FLAG) ||
    (ca === undefined) !== !(flags & CA_FLAG) ||
    references === undefined ||
    signatures === undefined ||
    reader.remaining !== 0
  ) {
    return undefined
  }
  return {
    baseName,
    root,
    kind,
    executable,
    size,
    nar,
    narHash,
    narSize,
    references,
    deriver,
    ca,
    signatures,
    registrationTime,
    trust,
    totalSize,
    entries,
    firstNode,
  }
}

/** A record on its own, as packs keep a copy of it: sized base name, then the record. */
export function encodePath(record: PathRecord): Buffer {
  return new ByteWriter(640).sized(Buffer.from(record.baseName, 'latin1')).bytes(encodeRecord(record)).finish()
}

/** The reverse of {@link encodePath}; undefined where the bytes are none. */
export function decodePath(bytes: Uint8Array): PathRecord | undefined {
  const reader = new ByteReader(bytes)
  const baseName = reader.takeSized()?.toString('latin1')
  if (baseName === undefined || !baseNamePattern.test(baseName)) return undefined
  return decodeRecord(baseName, reader.bytes.subarray(reader.offset))
}

function cidOf(reader: ByteReader): Buffer | undefined {
  const cid = reader.takeSized()
  return cid && isCid(cid) ? cid : undefined
}

/** True where the bytes are a CID and nothing else. */
export function isCid(bytes: Buffer): boolean {
  // CIDv1 with sha2-256: nearly all are, and taking them apart costs more than the rest of a record.
  const usual = bytes.length === 36 && bytes[0] === 1 && bytes[1]! < 128 && bytes[2] === 0x12 && bytes[3] === 32
  return usual || readCid(bytes) !== undefined
}

function textOf(reader: ByteReader): string | undefined {
  const bytes = reader.takeSized()
  return bytes && bytesToText(bytes)
}

function listOf(reader: ByteReader): string[] | undefined {
  const count = reader.varint()
  // Each text takes at least its length byte, so a count above this is a lie that must not allocate.
  if (count === undefined || count > reader.remaining) return undefined
  const list: string[] = []
  for (let i = 0; i < count; i++) {
    const text = textOf(reader)
    if (text === undefined) return undefined
    list.push(text)
  }
  return list
}
