/**
 * The import rule of CONTRIBUTING.md as a function: which module of src/ may name which. Files are given by their
 * paths below src/, with `/`.
 */
import { posix } from 'node:path'

/** The layer of a file, by its rank; a lower layer never knows a higher one. */
const ranks: { rank: number; files: RegExp }[] = [
  { rank: 0, files: /^(errors|log|bytes|cid)\.ts$/ },
  { rank: 1, files: /^nix\// },
  { rank: 2, files: /^(blocks|unixfs|index)\/types\.ts$/ },
  { rank: 3, files: /^(blocks|index)\// },
  { rank: 4, files: /^unixfs\// },
  { rank: 5, files: /^store\// },
  { rank: 6, files: /^(fs|cache)\// },
  { rank: 7, files: /^(cli\/|api\.ts$)/ },
]

/** Ranks below its own that a layer does not know either: who brings the concrete classes is rank 7. */
const hidden: Record<number, readonly number[]> = { 4: [3], 5: [3], 6: [3] }

/** Folders of which neither may import the other. */
const strangers: [RegExp, RegExp][] = [
  [/^blocks\/(?!types\.ts$)/, /^index\/(?!types\.ts$)/],
  [/^fs\//, /^cache\//],
  [/^fs\/kernel\//, /^fs\/libfuse\//],
]

/** Who must not import what, beyond the ranks. */
const forbidden: { from: RegExp; to: RegExp; why: string }[] = [
  { from: /^fs\/(?!kernel\/|libfuse\/)/, to: /^fs\/(kernel|libfuse)\//, why: 'the filesystem core knows no driver' },
  { from: /^api\.ts$/, to: /^cli\//, why: 'the library does not need the command line' },
  {
    from: /^nix\/(?!local-store\.ts$)/,
    to: /^node:(fs|child_process|net|http|https|dgram|worker_threads)(\/|$)/,
    why: 'nix/ is pure, but for local-store.ts',
  },
]

/** A module that source code names, as it is written there. */
export interface ModuleReference {
  specifier: string
  /** `url`: by `new URL(..., import.meta.url)`, which names the compiled file; `computed`: nobody can tell. */
  kind: 'import' | 'url' | 'computed'
}

/** Every module that a source text imports or re-exports: statically, by type, by `import()`, or by URL for a worker. */
export function referencesOf(source: string): ModuleReference[] {
  const code = withoutComments(source)
  const quoted = `(['"])([^'"\\n]+)\\1`
  const patterns: [ModuleReference['kind'], RegExp][] = [
    ['import', new RegExp(`\\b(?:import|export)\\b[^'"\`;()]*?\\bfrom\\s*${quoted}`, 'g')],
    ['import', new RegExp(`\\bimport\\s*${quoted}`, 'g')],
    ['import', new RegExp(`(?<!\\.)\\bimport\\s*\\(\\s*${quoted}`, 'g')],
    ['import', new RegExp(`\\brequire\\s*\\(\\s*${quoted}`, 'g')],
    ['url', new RegExp(`\\bnew\\s+URL\\(\\s*${quoted}\\s*,\\s*import\\.meta\\.url`, 'g')],
    ['computed', /(?<!\.)\bimport\s*\(\s*()([^'"\s][^)]*)\)/g],
  ]
  return patterns.flatMap(([kind, pattern]) =>
    [...code.matchAll(pattern)].map(match => ({ specifier: match[2]!, kind })),
  )
}

/** What is wrong with the imports of one file; empty if nothing. */
export function importViolations(file: string, source: string): string[] {
  const rank = rankOf(file)
  if (rank === undefined) return [`${file}: belongs to no layer`]
  return referencesOf(source).flatMap(reference => {
    const why = whyNot(file, rank, reference)
    return why === undefined ? [] : [`${file}: imports ${reference.specifier}: ${why}`]
  })
}

function whyNot(file: string, rank: number, { specifier, kind }: ModuleReference): string | undefined {
  if (kind === 'computed') return 'a computed import cannot be checked'
  const relative = specifier.startsWith('.')
  if (!relative && !specifier.startsWith('node:')) return undefined
  // The manifest lies one folder further from the compiled file than from its source.
  if (/^(\.\.\/)+package\.json$/.test(specifier)) return undefined
  const source = kind === 'url' ? specifier.replace(/\.js$/, '.ts') : specifier
  const target = relative ? posix.normalize(posix.join(posix.dirname(file), source)) : specifier
  const rule = forbidden.find(({ from, to }) => from.test(file) && to.test(target))
  if (rule) return rule.why
  if (!relative) return undefined
  if (!target.endsWith('.ts')) return 'relative imports end in .ts'
  const other = rankOf(target)
  if (other === undefined) return 'is outside src/ or in no layer'
  const apart = strangers.find(([a, b]) => (a.test(file) && b.test(target)) || (b.test(file) && a.test(target)))
  if (apart) return 'these two never import each other'
  if (other > rank) return `layer ${rank} knows nothing of layer ${other}`
  if (hidden[rank]?.includes(other)) return `layer ${rank} knows layer ${other} by its types.ts only`
  return undefined
}

function rankOf(file: string): number | undefined {
  return ranks.find(({ files }) => files.test(file))?.rank
}

/** Comments blanked; strings stay, so that `//` in a URL is no comment. */
export function withoutComments(source: string): string {
  const tokens = /(['"])(?:\\.|(?!\1)[^\\\n])*\1|`(?:\\.|[^\\`])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g
  return source.replace(tokens, token => (token.startsWith('/') ? ' ' : token))
}
