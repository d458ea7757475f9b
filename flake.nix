{
  description = "A content-addressed store filesystem: Nix store paths live in IPFS and are served through a read-only FUSE mount";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      each = systems: make: lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});

      # Where fuse-native has a build; until there is another driver, nothing can be mounted elsewhere.
      mountable = [ "x86_64-linux" ];
      systems = mountable ++ [ "aarch64-linux" ];
    in
    {
      overlays.default = final: _: { nix-ipfs-mount = final.callPackage ./nixos-module/package.nix { }; };

      nixosModules.default = {
        imports = [ ./nixos-module ];
      };

      packages = each mountable (pkgs: {
        default = pkgs.callPackage ./nixos-module/package.nix { };
      });

      checks = each mountable (
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
          machine = lib.nixosSystem {
            inherit system;
            modules = [
              self.nixosModules.default
              {
                boot.isContainer = true;
                services.nix-ipfs-mount.enable = true;
                system.stateVersion = lib.trivial.release;
              }
            ];
          };
        in
        {
          package = self.packages.${system}.default;
          # A whole NixOS with the module is evaluated, and not built.
          module = pkgs.writeText "nixos-with-the-module" (
            builtins.unsafeDiscardStringContext machine.config.system.build.toplevel.drvPath
          );
        }
      );

      devShells = each systems (pkgs: {
        default = pkgs.mkShell {
          packages = [
            pkgs.fuse3
            pkgs.go
            pkgs.nix
            pkgs.nodejs
            pkgs.rsync
          ];
          # For fuse-native as npm installs it.
          LD_LIBRARY_PATH = lib.makeLibraryPath [ pkgs.fuse2 ];
        };
      });

      formatter = each systems (pkgs: pkgs.nixfmt-tree);
    };
}
