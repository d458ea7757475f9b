import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { EMPTY_NAME, type TreeSink } from '../../src/nix/tree.ts'

/** Tells what lies at `path` to a sink, as Nix's dump reads it. A file is read as a whole: for small trees only. */
export function walkTree(path: string | Buffer, sink: TreeSink, name: Uint8Array = EMPTY_NAME): void {
  const at = Buffer.from(path)
  const stat = lstatSync(at)
  if (stat.isSymbolicLink()) {
    sink.symlink(name, readlinkSync(at, 'buffer'))
  } else if (stat.isDirectory()) {
    sink.directory(name)
    for (const entry of readdirSync(at, 'buffer').sort(Buffer.compare)) {
      walkTree(Buffer.concat([at, Buffer.from('/'), entry]), sink, entry)
    }
    sink.endDirectory()
  } else {
    const contents = readFileSync(at)
    sink.file(name, (stat.mode & 0o100) !== 0, contents.length)
    if (contents.length > 0) sink.contents(contents)
    sink.endFile()
  }
}
