# NixOS: mounts the store at boot. See README.md.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkIf
    mkOption
    types
    ;

  cfg = config.services.nix-ipfs-mount;

  name = "nix-ipfs-mount";
  defaultState = "/var/lib/${name}";

  json = pkgs.formats.json { };
  configFile = json.generate "${name}.json" cfg.settings;

  # Absolute and normal, and such that neither systemd nor a shell reads anything into it.
  isPlainPath = path: builtins.match "(/\\.{0,2}[A-Za-z0-9_+:@=,-][A-Za-z0-9._+:@=,-]*)+" path != null;
  isBelow = path: folder: lib.hasPrefix "${folder}/" "${path}/";
in
{
  options.services.nix-ipfs-mount = {
    enable = mkEnableOption "the mount of Nix store paths that are kept as content-addressed blocks";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package to use.";
    };

    mountPoint = mkOption {
      type = types.str;
      default = "/nix/store-ipfs";
      description = "Where the store paths appear. The folder is made if it is missing.";
    };

    blocks = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "kubo:http://127.0.0.1:5001";
      description = ''
        Where the blocks are: `local`, in the state folder, or `kubo:` and the URL of a Kubo node's RPC API. It is
        fixed when the state is first used; null is for what the state has, or `local`.
      '';
    };

    settings = mkOption {
      type = types.submodule {
        freeformType = json.type;
        options.state = mkOption {
          type = types.str;
          default = defaultState;
          description = "The state folder.";
        };
      };
      default = { };
      example = {
        deadline = 10;
      };
      description = "Options of the program, as its `--config` file has them.";
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = isPlainPath cfg.mountPoint;
        message = "services.nix-ipfs-mount.mountPoint: \"${cfg.mountPoint}\" must be an absolute path without a slash at its end, of letters, digits and . _ + : @ = , -";
      }
      {
        assertion = isPlainPath cfg.settings.state;
        message = "services.nix-ipfs-mount.settings.state: \"${cfg.settings.state}\" must be an absolute path without a slash at its end, of letters, digits and . _ + : @ = , -";
      }
      {
        assertion = !isBelow "/nix/store" cfg.mountPoint && !isBelow cfg.mountPoint "/nix/store";
        message = "services.nix-ipfs-mount.mountPoint: \"${cfg.mountPoint}\" would hide the machine's own store or lie in it";
      }
    ];

    services.nix-ipfs-mount.settings.blocks = mkIf (cfg.blocks != null) cfg.blocks;

    boot.kernelModules = [ "fuse" ];

    environment.systemPackages = [ cfg.package ];

    # The program, which root starts, runs as this user wherever it can, and gives it the state.
    users.users.${name} = {
      isSystemUser = true;
      group = name;
      home = defaultState;
      description = "Nix store paths from content-addressed blocks";
    };
    users.groups.${name} = { };

    systemd.services.nix-ipfs-mount = {
      description = "Nix store paths from content-addressed blocks";

      # A boot goes on whatever becomes of the mount: it is wanted and required by nobody, ordered before nothing, and
      # started as soon as the program runs (Type).
      wantedBy = [ "multi-user.target" ];

      # Only so that at shutdown the mount goes first; a Kubo that is not there yet delays no listing.
      after = [
        "ipfs.service"
        "network.target"
      ];
      unitConfig.RequiresMountsFor = [
        cfg.settings.state
        (dirOf cfg.mountPoint)
      ];

      path = [
        pkgs.fuse3
        pkgs.util-linux
      ];

      # Where everything was killed at once, the mount answers ENOTCONN to what the kernel has not cached. One that
      # answers is somebody else's.
      postStop = ''
        if findmnt --types fuse.${name} --mountpoint ${cfg.mountPoint} > /dev/null \
          && ! timeout 5 stat --file-system ${cfg.mountPoint} > /dev/null 2>&1; then
          umount --lazy ${cfg.mountPoint}
        fi
      '';

      # Nothing here that gives the service a mount namespace of its own (ProtectSystem, PrivateTmp and their like):
      # the mount would be seen in there only. Nor a StateDirectory: the program makes the folder, and gives it to its user.
      serviceConfig = {
        # The program says on stdout that it has mounted, and systemd does not read that. So the unit is active when the
        # program runs, and what needs the mount cannot wait for it by ordering itself after this unit.
        Type = "exec";
        ExecStart = "${lib.getExe cfg.package} ${cfg.mountPoint} --config ${configFile}";
        # Another server takes over; who reads waits for a moment.
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "on-failure";
        RestartSec = 5;
        # Wrong usage: the same again would help nobody.
        RestartPreventExitStatus = 2;
        TimeoutStartSec = 30;
        TimeoutStopSec = 15;
      };
    };
  };
}
