/**
 * A Nix store of a test's own, with the real Nix.
 *
 * Nix refuses to mix store folders: a path's hash covers `/nix/store`, and a store elsewhere (`--store DIR`) has its
 * files at DIR/nix/store, where a program that opens `/nix/store/...` does not find them. So every command runs in a
 * private mount namespace in which a temporary folder is bound at /nix. There everything is as on a real machine:
 * Nix's database, its files and `nix-ipfs-mount add /nix/store/...` meet at /nix, and the machine's own store stays
 * untouched. It needs root, no daemon, no build users and no sandbox; builders are /bin/sh and what /usr/bin holds.
 * From outside the namespace, files are read below {@link NixStore.physical}.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestScope } from './cleanup.ts'
import { cleanSettings, cliProgram, output, type RunOptions, type RunResult, run } from './run.ts'
import { tempFolder } from './temp.ts'

const CONFIGURATION = `
sandbox = false
build-users-group =
substituters =
experimental-features = nix-command ca-derivations
`

/** What `nix path-info --json` says of a path. */
export interface NixPathInfo {
  path: string
  /** `sha256-<base64>` */
  narHash: string
  narSize: number
  references: string[]
  deriver?: string
  ca?: string
  signatures?: string[]
  registrationTime: number
}

export interface NixStore {
  /** The folder whose `nix` is bound at /nix. */
  readonly root: string
  /** What Nix's commands need in the environment, where something else binds `root`'s `nix` at /nix. */
  readonly env: NodeJS.ProcessEnv
  /** Where a store path's files lie for those outside the namespace. */
  physical(storePath: string): string
  /** Runs a command inside. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** As {@link run}, an Error if it fails; its stdout. */
  output(command: string, args: readonly string[], options?: RunOptions): Promise<Buffer>
  /** Runs `nix-ipfs-mount <args>` inside. */
  cli(args: readonly string[], options?: RunOptions): Promise<RunResult>
  /** `nix-store --add`: a source path (`fixed:r:sha256`) with the file's own name. */
  add(file: string): Promise<string>
  /** `nix store add-path --name NAME`. */
  addPath(file: string, name: string): Promise<string>
  /** `nix-store --add-fixed [--recursive] ALGORITHM`. */
  addFixed(file: string, algorithm: string, recursive: boolean): Promise<string>
  /** `nix-build -E EXPRESSION`: the outputs. */
  build(expression: string): Promise<string[]>
  /** `nix-store --dump`: the path's NAR. */
  dump(storePath: string): Promise<Buffer>
  /** `nix path-info --json` of these paths, or of all. */
  info(...storePaths: string[]): Promise<NixPathInfo[]>
}

/** A fresh, empty store. Its files are removed after the test. */
export function nixStore(t: TestScope): NixStore {
  const root = tempFolder(t, 'nix')
  mkdirSync(join(root, 'nix'))
  mkdirSync(join(root, 'etc'))
  writeFileSync(join(root, 'etc', 'nix.conf'), CONFIGURATION)
  const env = { NIX_CONF_DIR: join(root, 'etc'), NIX_USER_CONF_FILES: '/dev/null', NIX_REMOTE: '', NIX_PATH: '' }
  const inside = (command: string, args: readonly string[], options: RunOptions = {}) =>
    [
      'unshare',
      ['-m', 'sh', '-c', 'mkdir -p /nix && mount --bind "$0" /nix && exec "$@"', join(root, 'nix'), command, ...args],
      { ...options, env: { ...env, ...options.env } },
    ] as const
  const text = async (command: string, args: readonly string[]) =>
    (await output(...inside(command, args))).toString().trim()
  return {
    root,
    env,
    physical: storePath => join(root, storePath),
    run: (command, args, options) => run(...inside(command, args, options)),
    output: (command, args, options) => output(...inside(command, args, options)),
    cli: (args, options = {}) => {
      const all = { ...options, env: { ...cleanSettings(), ...options.env } }
      return run(...inside(process.execPath, [cliProgram, ...args], all))
    },
    add: file => text('nix-store', ['--add', file]),
    addPath: (file, name) => text('nix', ['store', 'add-path', '--name', name, file]),
    addFixed: (file, algorithm, recursive) =>
      text('nix-store', ['--add-fixed', ...(recursive ? ['--recursive'] : []), algorithm, file]),
    build: async expression => (await text('nix-build', ['--no-out-link', '-E', expression])).split('\n'),
    dump: storePath => output(...inside('nix-store', ['--dump', storePath])),
    info: async (...storePaths) => {
      const which = storePaths.length > 0 ? storePaths : ['--all']
      return listInfos(JSON.parse(await text('nix', ['path-info', '--json', ...which])))
    },
  }
}

/** An array that leaves out what is unknown until Nix 2.18, since then an object by path where that is null. */
function listInfos(parsed: NixPathInfo[] | Record<string, NixPathInfo>): NixPathInfo[] {
  const infos = Array.isArray(parsed) ? parsed : Object.entries(parsed).map(([path, info]) => ({ ...info, path }))
  return infos.map(
    info => Object.fromEntries(Object.entries(info).filter(([, value]) => value !== null)) as unknown as NixPathInfo,
  )
}

/** A function in Nix's language: the derivation of this name that a shell script makes, which ends at its first error. */
export const shellDerivation = `name: script: derivation {
  inherit name;
  system = builtins.currentSystem;
  builder = "/bin/sh";
  PATH = "/usr/bin:/bin";
  args = [ "-e" "-c" script ];
}`

/**
 * A derivation whose output is a folder: a file, a script, an empty file and folder, a link to itself; it refers to
 * itself and to a second path, which is a lone file.
 */
export const sampleClosure = `
let
  make = ${shellDerivation};
  dependency = make "dependency" "echo depended on > $out";
in make "sample-1.0" ''
  mkdir -p $out/bin $out/share/empty
  echo "\${dependency}" > $out/share/reference
  : > $out/share/nothing
  printf '#!/bin/sh\\necho sample %s\\n' '"$@"' > $out/bin/sample
  chmod 755 $out/bin/sample
  ln -s $out/bin/sample $out/bin/self
  ln -s ../share $out/bin/up
''
`
