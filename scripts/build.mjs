// Compiles src/ and test/ into dist/. Files of a running program are rewritten in place rather than removed first, so
// that a mount started from this checkout goes on working.
import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cliProgram, main, root, runStep, SetupError } from './tools.mjs'

const dist = join(root, 'dist')

/** Throws a SetupError if it does not compile. */
export function build() {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  if (!existsSync(compiler)) throw new SetupError('node_modules is missing: run npm ci')
  removeStale('')
  runStep(process.execPath, [compiler])
  if (existsSync(cliProgram)) chmodSync(cliProgram, 0o755)
}

/** Removes compiled files whose source is gone: a test that was deleted must not run. */
function removeStale(folder) {
  const compiled = join(dist, folder)
  if (!existsSync(compiled)) return
  for (const entry of readdirSync(compiled, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (existsSync(join(root, path))) removeStale(path)
      else rmSync(join(dist, path), { recursive: true })
    } else if (!existsSync(join(root, path.replace(/\.js(\.map)?$/, '.ts')))) {
      rmSync(join(dist, path))
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(build)
