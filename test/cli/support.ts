import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openStore, type Store } from '../../src/cli/compose.ts'
import { readConfig } from '../../src/cli/config.ts'
import { narChunks } from '../../src/store/nar-source.ts'
import type { TestScope } from '../helpers/cleanup.ts'
import { cli, type RunOptions, type RunResult } from '../helpers/run.ts'
import { tempFolder } from '../helpers/temp.ts'

/** What `add --json` prints of each path. */
export interface AddedLine {
  path: string
  root: string
  nar: string
  narHash: string
  narSize: number
  new: boolean
}

/** What `info --json` prints of each path. */
export interface InfoLine {
  path: string
  root: string
  nar: string
  narHash: string
  narSize: number
  references: string[]
  deriver: string | null
  ca: string | null
  signatures: string[]
  trust: string
  pinned: boolean
  entries: number
  size: number
  local: number
}

/** What `ls --json` prints of each entry. */
export interface LsEntry {
  /** With `-R` only. */
  path?: string
  name: string
  type: 'regular' | 'directory' | 'symlink'
  size: number
  executable: boolean
  target: string | null
  cid: string
}

/** A state folder that does not exist yet, in a temporary folder of its own. */
export function newState(t: TestScope): string {
  return join(tempFolder(t, 'state'), 'state')
}

/** The stdout of a run that must have succeeded without a word on stderr. */
export function succeeded(result: RunResult): Buffer {
  assert.equal(result.stderr, '')
  assert.equal(result.code, 0)
  return result.stdout
}

/** Runs the program, which must succeed without a word on stderr; its stdout. */
export async function done(args: readonly string[], options?: RunOptions): Promise<Buffer> {
  return succeeded(await cli(args, options))
}

/** The same as text. */
export async function doneText(args: readonly string[], options?: RunOptions): Promise<string> {
  return (await done(args, options)).toString()
}

/** One JSON object from each line. */
export function jsonLines<T>(stdout: Buffer): T[] {
  return stdout
    .toString()
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line))
}

/** `add --json` of what must give exactly one path. */
export async function addOne(state: string, args: readonly string[], options?: RunOptions): Promise<AddedLine> {
  const lines = jsonLines<AddedLine>(await done(['add', '--json', '--state', state, ...args], options))
  assert.equal(lines.length, 1)
  return lines[0]!
}

export async function infoOne(state: string, path: string): Promise<InfoLine> {
  const lines = jsonLines<InfoLine>(await done(['info', '--json', '--state', state, path]))
  assert.equal(lines.length, 1)
  return lines[0]!
}

export async function listing(state: string, args: readonly string[] = []): Promise<LsEntry[]> {
  return JSON.parse(await doneText(['ls', '--json', '--state', state, ...args]))
}

/** Base names of the paths that are visible, read as another process does, but without starting one. */
export function known(state: string): Promise<string[]> {
  return withStore(state, async store => [...store.index.paths()].map(({ baseName }) => baseName))
}

/** The NAR of a path from the state itself; for tests whose point is not the command `nar`. */
export function storedNar(state: string, path: string): Promise<Buffer> {
  return withStore(state, async ({ reader }) => {
    const chunks: Buffer[] = []
    for await (const chunk of narChunks(reader, reader.path(path))) chunks.push(Buffer.from(chunk))
    return Buffer.concat(chunks)
  })
}

async function withStore<T>(state: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = openStore(readConfig({ state }, {}), { readOnly: true })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/**
 * A failure as the user is promised one: exit status 1 (2 for wrong usage), nothing on stdout, and one line on stderr
 * that names the program and contains each of `says`.
 */
export function assertFailed(result: RunResult, says: readonly (string | RegExp)[], code = 1): void {
  assert.match(result.stderr, /^nix-ipfs-mount: [^\n]+\n$/)
  assert.equal(result.stdout.toString(), '')
  assert.equal(result.signal, null)
  assert.equal(result.code, code, result.stderr)
  for (const part of says) {
    if (typeof part === 'string') assert.ok(result.stderr.includes(part), `${result.stderr.trim()} names ${part}`)
    else assert.match(result.stderr, part)
  }
}

/** Files of the block store with their sizes: what a second add of the same must not change. */
export function packSizes(state: string): Record<string, number> {
  const packs = join(state, 'packs')
  return Object.fromEntries(readdirSync(packs).map(name => [name, statSync(join(packs, name)).size]))
}

/** A folder of every kind of entry, without executables: Kubo's own add makes the same DAG of it. */
export function plainTree(folder: string): void {
  mkdirSync(join(folder, 'sub', 'empty'), { recursive: true })
  writeFileSync(join(folder, 'hello.txt'), 'hello\n')
  writeFileSync(join(folder, '.hidden'), 'not seen by everybody\n')
  writeFileSync(join(folder, 'nothing'), '')
  writeFileSync(join(folder, 'sub', 'large'), patterned(2 * 1024 * 1024 + 3))
  symlinkSync('../hello.txt', join(folder, 'sub', 'link'))
  symlinkSync('/nowhere/at all', join(folder, 'dangling'))
}

/** {@link plainTree} and two executables. */
export function sampleTree(folder: string): void {
  plainTree(folder)
  mkdirSync(join(folder, 'bin'))
  writeFileSync(join(folder, 'bin', 'run'), '#!/bin/sh\necho run\n', { mode: 0o755 })
  writeFileSync(join(folder, 'bin', 'empty'), '', { mode: 0o744 })
}

/** Bytes in which no MiB equals another. */
export function patterned(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4096) bytes.writeUInt32LE(at, at)
  return bytes
}

/** Bytes as our JSON shows them: UTF-8, and what is not UTF-8 as U+DC80 to U+DCFF, a byte each. */
export function shownBytes(bytes: Buffer): string {
  let shown = ''
  for (let at = 0; at < bytes.length; ) {
    const character = [1, 2, 3, 4].map(length => utf8(bytes.subarray(at, at + length))).find(Boolean)
    shown += character ?? String.fromCharCode(0xdc00 + bytes[at]!)
    at += character === undefined ? 1 : Buffer.byteLength(character)
  }
  return shown
}

function utf8(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
