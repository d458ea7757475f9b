/** What the program says besides its results. Everything goes to stderr; results alone go to stdout. */
export interface Logger {
  /** Something a user must see: always printed. */
  warn(line: string): void
  /** Progress in plain lines. */
  info(line: string): void
  /** Only with `--verbose`. */
  debug(line: string): void
}

/** Writes `nix-ipfs-mount: <line>` to stderr. */
export function stderrLogger(verbose = false): Logger {
  const write = (line: string) => process.stderr.write(`nix-ipfs-mount: ${line}\n`)
  return { warn: write, info: write, debug: verbose ? write : () => {} }
}

export const silentLogger: Logger = { warn: () => {}, info: () => {}, debug: () => {} }
