import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { test } from 'node:test'
import { checkout, evaluate } from './evaluate.ts'

interface Locked {
  version: string
  integrity: string
  os?: string[]
  cpu?: string[]
}

interface Fetch {
  spec: string
  outputHash: string
  outputHashMode: string
  name: string
}

const lock: Record<string, Locked> = readJson('package-lock.json').packages
const manifest = readJson('package.json')

test('the package is this checkout', async () => {
  const { version, pname, mainProgram, files } = await evaluate<Record<string, unknown> & { files: string[] }>(
    'let p = flake.packages.x86_64-linux.default; in { inherit (p) version pname; inherit (p.meta) mainProgram; inherit (p.src) files; }',
  )
  assert.deepEqual({ version, pname }, { version: manifest.version, pname: manifest.name })
  assert.ok(Object.keys(manifest.bin).includes(String(mainProgram)))
  assert.deepEqual(
    files.map(file => relative(checkout, file)),
    ['LICENSE', 'README.md', 'package-lock.json', 'package.json', 'scripts', 'src', 'tsconfig.json'],
  )
})

test('npm packages are fetched by the version and the hash of the lock file, those for other systems not at all', async () => {
  const fetches = await evaluate<Record<string, Fetch | null>>(
    `builtins.mapAttrs (_: source: if source == null then null else source.arguments)
      flake.packages.x86_64-linux.default.npmDeps.arguments.packageSourceOverrides`,
  )
  const { '': _root, ...packages } = lock
  assert.deepEqual(Object.keys(fetches).sort(), Object.keys(packages).sort())
  for (const [path, { version, integrity, os = ['linux'], cpu = ['x64'] }] of Object.entries(packages)) {
    const source = fetches[path]
    if (!os.includes('linux') || !cpu.includes('x64')) {
      assert.equal(source, null, path)
      continue
    }
    const name = path.replace(/^.*node_modules\//, '')
    assert.equal(source?.spec, `${name}@${version}`)
    assert.equal(source?.outputHash, integrity)
    assert.equal(source?.outputHashMode, 'flat')
    // npm takes a file for a tarball by this ending only.
    assert.match(source?.name ?? '', /^[\w.+-]+\.tgz$/)
  }
  assert.equal(fetches['node_modules/yargs/node_modules/string-width']?.spec.split('@')[0], 'string-width')
})

test('the program finds libfuse2 and the tools that unmount', async () => {
  const { postInstall, makeWrapperArgs } = await evaluate<{ postInstall: string; makeWrapperArgs: string[] }>(
    '{ inherit (flake.packages.x86_64-linux.default) postInstall makeWrapperArgs; }',
  )
  const [, library, file] = /--add-rpath (\S+) [^"]*"\$out\/lib\/node_modules\/([^"]+)"/.exec(postInstall)!
  assert.equal(library, '/fuse2/lib')
  assert.ok(readFileSync(join(checkout, file!.replace(`${manifest.name}/`, ''))).includes('libfuse.so.2'))
  assert.deepEqual(makeWrapperArgs, ['--suffix', 'PATH', ':', '/fuse3/bin:/util-linux/bin'])
})

test('the flake has what flakes have', async () => {
  const outputs = await evaluate<Record<string, unknown>>(
    'builtins.mapAttrs (name: output: if name == "overlays" || name == "nixosModules" then builtins.attrNames output else output) flake',
  )
  const { description, inputs: _, checks, ...rest } = outputs
  assert.equal(description, manifest.description)
  const both = (value: unknown) => ({ 'aarch64-linux': value, 'x86_64-linux': value })
  assert.deepEqual(rest, {
    overlays: ['default'],
    nixosModules: ['default'],
    packages: { 'x86_64-linux': { default: '/nix-ipfs-mount' } },
    devShells: both({ default: '/shell' }),
    formatter: both('/nixfmt-tree'),
  })
  assert.deepEqual(Object.keys(checks as object), ['x86_64-linux'])
})

test("the flake's overlay has the package, and its checks evaluate a machine with the module", async () => {
  const overlaid = await evaluate<string[]>('builtins.attrNames (flake.overlays.default pkgs { })')
  assert.deepEqual(overlaid, ['nix-ipfs-mount'])
  assert.equal(await evaluate('(flake.overlays.default pkgs { }).nix-ipfs-mount'), '/nix-ipfs-mount')
  const { package: built, module } = await evaluate<{ package: string; module: string }>(
    'with flake.checks.x86_64-linux; { inherit package; module = module.text; }',
  )
  assert.equal(built, '/nix-ipfs-mount')
  assert.match(module, /"nix-ipfs-mount":.*"multi-user\.target"/)
})

function readJson(file: string) {
  return JSON.parse(readFileSync(join(checkout, file), 'utf8'))
}
