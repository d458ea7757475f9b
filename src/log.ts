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
  const write = (line: string) => process.stderr.write(`nix-ipfs-mount: ${printable(line)}\n`)
  return { warn: write, info: write, debug: verbose ? write : () => {} }
}

export const silentLogger: Logger = { warn: () => {}, info: () => {}, debug: () => {} }

/**
 * Text as one line that a terminal shows and does not obey: file names may hold control characters. Those, and the
 * bytes that bytesToText could not decode, become three octal digits after a backslash.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\udc80-\udcff]/g, character => {
    const code = character.charCodeAt(0)
    return `\\${(code >= 0xdc00 ? code - 0xdc00 : code).toString(8).padStart(3, '0')}`
  })
}
