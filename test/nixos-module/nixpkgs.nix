# A stand-in for the part of nixpkgs that the module, the package and the flake use, since the tests have no network.
# Options behave as in nixpkgs' lib.evalModules as far as this goes: definitions are merged through mkIf, mkMerge and
# priorities, unknown options, wrong types and contradictions are errors; what is under an option of NixOS itself
# (systemd.services and so on) is merged unchecked. Packages are names: `fuse3` is /fuse3.
let
  inherit (builtins)
    all
    attrNames
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    head
    isAttrs
    isBool
    isList
    isString
    length
    listToAttrs
    mapAttrs
    ;

  kind = value: if isAttrs value then value._type or "value" else "value";

  # Definitions of a name, from definitions of the set it is in. No condition is looked at: it may depend on others.
  pushDown =
    name: definition:
    {
      "if" = map (lib.mkIf definition.condition) (pushDown name definition.content);
      merge = concatMap (pushDown name) definition.contents;
      override = map (lib.mkOverride definition.priority) (pushDown name definition.content);
      value = if definition ? ${name} then [ definition.${name} ] else [ ];
    }
    .${kind definition};

  names =
    definition:
    {
      "if" = names definition.content;
      merge = concatMap names definition.contents;
      override = names definition.content;
      value = attrNames definition;
    }
    .${kind definition};

  # Values with their priorities, of which the lowest number counts.
  discharge =
    definition:
    {
      "if" = if definition.condition then discharge definition.content else [ ];
      merge = concatMap discharge definition.contents;
      override = map (value: value // { inherit (definition) priority; }) (discharge definition.content);
      value = [
        {
          priority = 100;
          value = definition;
        }
      ];
    }
    .${kind definition};

  strongest =
    definitions:
    let
      values = concatMap discharge definitions;
      least = foldl' (least: { priority, ... }: if priority < least then priority else least) 9999 values;
    in
    map ({ value, ... }: value) (filter ({ priority, ... }: priority == least) values);

  onlyOne =
    path: values:
    if values == [ ] then
      throw "The option `${path}' has no value"
    else if all (value: value == head values) values then
      head values
    else
      throw "The option `${path}' has conflicting definition values";

  mergeFree =
    path: definitions:
    let
      values = strongest definitions;
    in
    if values != [ ] && all (value: isAttrs value && !(value ? outPath)) values then
      evalFree path { } definitions
    else if values != [ ] && all isList values then
      concatMap (value: value) values
    else
      onlyOne path values;

  evalOption =
    path: option: definitions:
    let
      withDefault = definitions ++ (if option ? default then [ (lib.mkOverride 1500 option.default) ] else [ ]);
      value = onlyOne path (strongest withDefault);
    in
    if option.type ? options then
      evalFree path option.type.options definitions
    else if option.type.check value then
      value
    else
      throw "A definition for option `${path}' is not of type `${option.type.name}'";

  # Which names a set of NixOS's own options has must not depend on conditions, which depend on the set: a name whose
  # conditions are all false is null there.
  evalTree =
    path: options: definitions:
    let
      at = name: concatMap (pushDown name) definitions;
      below = name: if path == "" then name else "${path}.${name}";
      declared = attrNames options;
      others = filter (name: !(elem name declared)) (concatMap names definitions);
      isOption = name: kind options.${name} == "option";
      value =
        name:
        if !(elem name declared) then
          if strongest (at name) == [ ] then null else mergeFree (below name) (at name)
        else if isOption name then
          evalOption (below name) options.${name} (at name)
        else
          evalTree (below name) options.${name} (at name);
    in
    if builtins.any isOption declared && others != [ ] then
      throw "The option `${below (head others)}' does not exist"
    else
      lib.genAttrs (declared ++ others) value;

  # A set that takes any name: of a freeform option, or of what no option declares.
  evalFree =
    path: options: definitions:
    let
      at = name: concatMap (pushDown name) definitions;
      below = name: "${path}.${name}";
      others = filter (name: strongest (at name) != [ ]) (concatMap names definitions);
    in
    lib.genAttrs others (name: mergeFree (below name) (at name))
    // mapAttrs (name: option: evalOption (below name) option (at name)) options;

  splitString = separator: text: filter isString (builtins.split separator text);

  lib = {
    mkOption = option: option // { _type = "option"; };
    mkEnableOption =
      description:
      lib.mkOption {
        inherit description;
        type = lib.types.bool;
        default = false;
      };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkForce = lib.mkOverride 50;
    literalExpression = text: text;

    types = {
      bool = {
        name = "boolean";
        check = isBool;
      };
      str = {
        name = "string";
        check = isString;
      };
      package = {
        name = "package";
        check = value: isAttrs value && value ? outPath;
      };
      nullOr = type: {
        name = "null or ${type.name}";
        check = value: value == null || type.check value;
      };
      submodule = { options, freeformType }: { inherit options freeformType; };
    };

    # Evaluates one module with these configurations.
    evalModule =
      module: configurations:
      let
        evaluated = module {
          inherit config lib pkgs;
        };
        config = evalTree "" evaluated.options ([ evaluated.config ] ++ configurations);
      in
      config;

    nixosSystem =
      { modules, ... }:
      let
        paths = concatMap (module: module.imports or [ ]) modules;
        config = lib.evalModule (import (head paths)) (filter (module: !(module ? imports)) modules);
      in
      assert length paths == 1;
      assert all ({ assertion, ... }: assertion) config.assertions;
      {
        config = config // {
          system.build.toplevel.drvPath = builtins.toJSON config.systemd;
        };
      };

    inherit splitString;
    inherit (builtins) concatStringsSep;
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    last = list: elemAt list (length list - 1);
    genAttrs =
      names: make:
      listToAttrs (
        map (name: {
          inherit name;
          value = make name;
        }) names
      );
    importJSON = file: builtins.fromJSON (builtins.readFile file);
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    getLib = package: package;
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
    makeLibraryPath = packages: concatStringsSep ":" (map (package: "${package}/lib") packages);
    fetchers.proxyImpureEnvVars = [ "https_proxy" ];
    fileset = {
      unions =
        paths:
        assert all builtins.pathExists paths;
        paths;
      toSource =
        { root, fileset }:
        {
          outPath = "/source";
          files = map toString fileset;
        };
    };
    licenses.mit = "MIT";
    trivial.release = "26.05";
  };

  package = name: { outPath = "/${name}"; };

  # What is built is its arguments.
  build =
    arguments:
    {
      outPath = "/${arguments.pname or arguments.name}";
      inherit arguments;
    }
    // arguments;

  makePkgs =
    system:
    let
      pkgs =
        lib.genAttrs [
          "cacert"
          "coreutils"
          "fuse2"
          "fuse3"
          "go"
          "nix"
          "nixfmt-tree"
          "nodejs"
          "patchelf"
          "rsync"
          "util-linux"
        ] package
        // {
          inherit lib;
          stdenv.hostPlatform = {
            inherit system;
            node = {
              platform = "linux";
              arch =
                {
                  x86_64-linux = "x64";
                  aarch64-linux = "arm64";
                }
                .${system};
            };
          };
          callPackage =
            file: overrides:
            let
              make = import file;
            in
            make (builtins.intersectAttrs (builtins.functionArgs make) pkgs // overrides);
          buildNpmPackage = build;
          importNpmLock = {
            npmConfigHook = "/npm-config-hook";
            __functor = _: build' "npm-deps";
          };
          mkShell = build' "shell";
          runCommand =
            name: environment: script:
            build (environment // { inherit name script; });
          writeText = name: text: build { inherit name text; };
          # A file is its own text, in place of a path.
          formats.json = { }: {
            type = null;
            generate = _: builtins.toJSON;
          };
        };
      build' = name: arguments: build (arguments // { inherit name; });
    in
    pkgs;

  pkgs = makePkgs "x86_64-linux";
in
{
  inherit lib pkgs;

  # The configuration of a machine with the module and these definitions; all of its assertions have to be looked at.
  machine = definitions: lib.evalModule (import ../../nixos-module) [ definitions ];

  flake =
    let
      flake = import ../../flake.nix;
      self = flake.outputs {
        inherit self;
        nixpkgs = {
          inherit lib;
          legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] makePkgs;
        };
      };
    in
    self // { inherit (flake) description inputs; };
}
