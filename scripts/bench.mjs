// `npm run bench -- <suite>…`: set up, build, and measure; bench/README.md says what, and where the results go.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { build } from './build.mjs'
import { setUpBenchmarks } from './setup.mjs'
import { main, root, runForeground, SetupError, say } from './tools.mjs'

await main(async () => {
  if (process.getuid() !== 0) throw new SetupError('the benchmark mounts and empties caches: run it as root')
  if (!existsSync('/dev/fuse')) throw new SetupError('the benchmark mounts, and there is no /dev/fuse: modprobe fuse')
  setUpBenchmarks()
  say('building')
  build()
  return runForeground(process.execPath, [join(root, 'dist', 'bench', 'main.js'), ...process.argv.slice(2)])
})
