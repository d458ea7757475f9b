import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { output, type RunResult, run } from '../helpers/run.ts'

/** The checkout. tsc leaves .nix files where they are: above the compiled tests. */
export const checkout = findCheckout()

const standIn = join(checkout, 'test', 'nixos-module', 'nixpkgs.nix')

// A store that holds nothing: evaluation must neither need nor touch the machine's own.
const options = ['--store', 'dummy://', '--eval', '--strict', '--json', '--expr']

/** The value of a Nix expression that may use what test/nixos-module/nixpkgs.nix has. Throws an Error with Nix's own. */
export async function evaluate<T>(expression: string): Promise<T> {
  return JSON.parse((await output('nix-instantiate', [...options, `with import ${standIn}; ${expression}`])).toString())
}

/** The same for an expression that may fail. */
export function tryEvaluate(expression: string): Promise<RunResult> {
  return run('nix-instantiate', [...options, `with import ${standIn}; ${expression}`])
}

function findCheckout(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'flake.nix'))) return folder
  }
  throw new Error('there is no flake.nix above the compiled tests')
}
