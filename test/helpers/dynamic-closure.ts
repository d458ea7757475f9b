import { type NixStore, shellDerivation } from './nix.ts'

/** Store paths of a real program that is linked dynamically. */
export interface DynamicClosure {
  /** A script whose interpreter is {@link shell}. */
  readonly script: string
  /** bash, whose interpreter and libraries are in two more store paths. */
  readonly shell: string
  readonly interpreter: string
  readonly libraries: string
}

/**
 * Builds them from this machine's own bash: patchelf, in derivations, names store paths as its interpreter and as the
 * place of its libraries, and Nix finds these references in the files.
 */
export async function buildDynamicClosure(nix: NixStore): Promise<DynamicClosure> {
  const [script, shell, interpreter, libraries] = await nix.build(EXPRESSION)
  return { script: script!, shell: shell!, interpreter: interpreter!, libraries: libraries! }
}

const EXPRESSION = `
let
  make = ${shellDerivation};
  interpreter = make "interpreter-1.0" ''
    mkdir -p $out/lib
    cp -L $(patchelf --print-interpreter /bin/bash) $out/lib
  '';
  libraries = make "libraries-1.0" ''
    mkdir -p $out/lib
    cp -L $(ldd /bin/bash | sed -n 's/.* => \\(.*\\) (.*/\\1/p') $out/lib
  '';
  shell = make "shell-1.0" ''
    mkdir -p $out/bin
    cp /bin/bash $out/bin/bash
    patchelf --set-interpreter \${interpreter}/lib/ld* --set-rpath \${libraries}/lib $out/bin/bash
  '';
  script = make "script-1.0" ''
    mkdir -p $out/bin
    printf '#!\${shell}/bin/bash\\necho "script $*"\\n' > $out/bin/script
    chmod 755 $out/bin/script
  '';
in [ script shell interpreter libraries ]
`
