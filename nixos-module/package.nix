# The program as a Nix package, from this checkout. The tests evaluate this file with a stand-in for nixpkgs. It has not
# been built with nixpkgs itself, which could not be had where it was written; what it does was done there without:
# the packages fetched as fixed outputs by Nix 2.8, then the steps of buildNpmPackage up to the check of the result.
{
  lib,
  stdenv,
  runCommand,
  buildNpmPackage,
  importNpmLock,
  cacert,
  fuse2,
  fuse3,
  nodejs,
  patchelf,
  util-linux,
}:

let
  manifest = lib.importJSON ../package.json;
  lock = lib.importJSON ../package-lock.json;

  # Binaries for other systems are in the lock file too; npm leaves them out and does not ask for them.
  isForHere =
    locked:
    let
      here = stdenv.hostPlatform.node;
    in
    builtins.elem here.platform (locked.os or [ here.platform ])
    && builtins.elem here.arch (locked.cpu or [ here.arch ]);

  # The lock file has a hash for each package and no address, so npm itself fetches them, from the registry it is set
  # up for. What it writes is the tarball as it was published, whose hash the lock file has: no other hash is needed.
  fetchPackage =
    path: locked:
    let
      name = lib.last (lib.splitString "node_modules/" path);
    in
    runCommand "${baseNameOf name}-${locked.version}.tgz"
      {
        outputHash = locked.integrity;
        outputHashMode = "flat";
        impureEnvVars = lib.fetchers.proxyImpureEnvVars;
        nativeBuildInputs = [
          cacert
          nodejs
        ];
        spec = "${name}@${locked.version}";
      }
      ''
        export HOME=$TMPDIR
        npm pack --silent --ignore-scripts "$spec"
        mv ./*.tgz "$out"
      '';
in
buildNpmPackage {
  pname = manifest.name;
  inherit (manifest) version;
  inherit nodejs;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../LICENSE
      ../README.md
      ../package-lock.json
      ../package.json
      ../scripts
      ../src
      ../tsconfig.json
    ];
  };

  npmDeps = importNpmLock {
    package = manifest;
    packageLock = lock;
    packageSourceOverrides = builtins.mapAttrs (
      path: locked: if isForHere locked then fetchPackage path locked else null
    ) (removeAttrs lock.packages [ "" ]);
  };
  inherit (importNpmLock) npmConfigHook;

  # Install scripts would compile what the packages bring compiled.
  npmRebuildFlags = [ "--ignore-scripts" ];

  nativeBuildInputs = [ patchelf ];

  # The run path rather than LD_LIBRARY_PATH, which every program started by this one would inherit.
  postInstall = ''
    patchelf --add-rpath ${lib.getLib fuse2}/lib \
      "$out/lib/node_modules/${manifest.name}/node_modules/fuse-native/prebuilds/linux-x64/node.napi.node"
  '';

  # Behind the user's PATH: NixOS has the setuid fusermount elsewhere.
  makeWrapperArgs = [
    "--suffix"
    "PATH"
    ":"
    (lib.makeBinPath [
      fuse3
      util-linux
    ])
  ];

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    test "$("$out/bin/${manifest.name}" --version)" = ${manifest.version}
    (cd "$out/lib/node_modules/${manifest.name}" && node -e "require('fuse-native')")
    runHook postInstallCheck
  '';

  meta = {
    inherit (manifest) description;
    license = lib.licenses.mit;
    mainProgram = manifest.name;
    # fuse-native has no build for arm64.
    platforms = [ "x86_64-linux" ];
  };
}
