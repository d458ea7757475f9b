import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cidText, dagPbCid } from '../../src/cid.ts'
import { FormatError } from '../../src/errors.ts'
import { parseHash } from '../../src/nix/hash.ts'
import { parseNarInfo, printNarInfo } from '../../src/nix/narinfo.ts'
import { fullPath, hashPart } from '../../src/nix/store-path.ts'
import { type NixPathInfo, nixStore } from '../helpers/nix.ts'
import { deriver, lines, reference, text, whole, withLines } from './narinfo-example.ts'

// Every form of every field, right and wrong: what is taken and what is refused, beside the real Nix.

const store = nixStore({ after })

const fileHash = 'sha256:1s9dwxlkq4kbc5wbs11xn7g7fmn6v442n0w4yd820gmsbn7xdnxy'
const fileHashHex = parseHash(fileHash).digest.toString('hex')

interface Case {
  label: string
  text: string
  /** What Nix 2.8 does with it. */
  nix: 'takes' | 'refuses'
  /** The message of the FormatError here; absent where it is taken. */
  refused?: RegExp
}

const taken = (label: string, text: string): Case => ({ label, text, nix: 'takes' })
const refused = (label: string, text: string, message: RegExp): Case => ({
  label,
  text,
  nix: 'refuses',
  refused: message,
})
/** What Nix 2.8 lets pass, and narinfo.ts says why it is refused here. */
const stricter = (label: string, text: string, message: RegExp): Case => ({
  label,
  text,
  nix: 'takes',
  refused: message,
})

const cases: Case[] = [
  taken('as Nix writes it', whole),
  taken('in another order', text([...lines].reverse())),
  taken('an unknown field', text([...lines, 'X-Custom: a: b', 'IPFSPeer: x', 'System: x86_64-linux'])),
  taken('an unknown field twice', text([...lines, 'X-Custom: a', 'X-Custom: a'])),
  taken('a field in other letters is an unknown one', text([...lines, 'narsize: x'])),
  taken('only what must be there', text([lines[0]!, lines[1]!, lines[5]!, lines[6]!])),

  taken('no Compression', withLines('Compression')),
  taken('an empty Compression', withLines('Compression', 'Compression: ')),
  taken('an unknown Compression', withLines('Compression', 'Compression: lz5')),
  stricter('Compression twice', withLines('Compression', 'Compression: xz', 'Compression: xz'), /Compression: .*twice/),

  refused('no StorePath', withLines('StorePath'), /StorePath: is missing/),
  refused('StorePath is a base name', withLines('StorePath', lines[0]!.replace('/nix/store/', '')), /StorePath: /),
  refused(
    'StorePath in another store',
    withLines('StorePath', lines[0]!.replace('/nix/store', '/gnu/store')),
    /StorePath: /,
  ),
  refused('StorePath below a store path', withLines('StorePath', `${lines[0]}/bin`), /StorePath: /),
  refused('StorePath without a name', withLines('StorePath', lines[0]!.replace('-example-1.0', '')), /StorePath: /),
  refused(
    'StorePath with a letter that nix32 lacks',
    withLines('StorePath', lines[0]!.replace('a-', 'e-')),
    /StorePath: /,
  ),
  refused('StorePath with a space', withLines('StorePath', `${lines[0]} `), /StorePath: /),
  refused('StorePath with a carriage return', withLines('StorePath', `${lines[0]}\r`), /StorePath: /),
  stricter('StorePath twice', text([lines[0]!, ...lines]), /StorePath: .*twice/),
  stricter(
    'StorePath not in its one spelling',
    withLines('StorePath', lines[0]!.replace('/store', '//store')),
    /StorePath: /,
  ),

  refused('no URL', withLines('URL'), /URL: is missing/),
  refused('an empty URL', withLines('URL', 'URL: '), /URL: "" is empty/),
  taken('an absolute URL', withLines('URL', 'URL: https://example.org:8080/a b?c#d')),
  stricter('URL twice', text([...lines, 'URL: other']), /URL: .*twice/),

  taken('no FileHash', withLines('FileHash')),
  taken('FileHash in hex', withLines('FileHash', `FileHash: sha256:${fileHashHex}`)),
  taken('FileHash by sha512', withLines('FileHash', `FileHash: sha512:${fileHashHex}${fileHashHex}`)),
  refused('an empty FileHash', withLines('FileHash', 'FileHash: '), /FileHash: "" is not a hash/),
  refused('FileHash cut', withLines('FileHash', 'FileHash: sha256:1s9dwxlkq4kbc5'), /FileHash: /),
  stricter('FileHash twice', text([...lines, lines[3]!]), /FileHash: .*twice/),

  taken('no FileSize', withLines('FileSize')),
  taken('FileSize 0', withLines('FileSize', 'FileSize: 0')),
  refused('an empty FileSize', withLines('FileSize', 'FileSize: '), /FileSize: "" is not a number/),
  refused('FileSize below 0', withLines('FileSize', 'FileSize: -1'), /FileSize: /),
  refused('FileSize with a unit', withLines('FileSize', 'FileSize: 4K'), /FileSize: /),
  refused('FileSize above 64 bits', withLines('FileSize', 'FileSize: 18446744073709551616'), /FileSize: /),
  stricter('FileSize above 2^53', withLines('FileSize', 'FileSize: 9007199254740992'), /FileSize: /),

  refused('no NarHash', withLines('NarHash'), /NarHash: is missing/),
  refused('an empty NarHash', withLines('NarHash', 'NarHash: '), /NarHash: "" is not a sha256 hash/),
  refused('NarHash without algorithm', withLines('NarHash', lines[5]!.replace('sha256:', '')), /NarHash: /),
  refused('NarHash by what is none', withLines('NarHash', lines[5]!.replace('sha256', 'sha257')), /NarHash: /),
  refused('NarHash cut', withLines('NarHash', lines[5]!.slice(0, -1)), /NarHash: /),
  refused('NarHash with a letter that nix32 lacks', withLines('NarHash', lines[5]!.replace('wv', 'we')), /NarHash: /),
  taken('NarHash in hex', withLines('NarHash', `NarHash: sha256:${fileHashHex}`)),
  taken('NarHash in base64', withLines('NarHash', 'NarHash: sha256:m/dvi/Fwa2rI1Jo0u9kcvHt9QolWZLRsNcGVhmIkLjg=')),
  taken('NarHash as SRI', withLines('NarHash', 'NarHash: sha256-m/dvi/Fwa2rI1Jo0u9kcvHt9QolWZLRsNcGVhmIkLjg=')),
  stricter('NarHash by md5', withLines('NarHash', `NarHash: md5:${'0'.repeat(32)}`), /NarHash: /),
  stricter('NarHash twice', text([...lines, lines[5]!]), /NarHash: .*twice/),

  refused('no NarSize', withLines('NarSize'), /NarSize: is missing/),
  refused('an empty NarSize', withLines('NarSize', 'NarSize: '), /NarSize: "" is not a number/),
  refused('NarSize 0', withLines('NarSize', 'NarSize: 0'), /NarSize: "0" is not a number of bytes above 0/),
  refused('NarSize 00', withLines('NarSize', 'NarSize: 00'), /NarSize: /),
  refused('NarSize below 0', withLines('NarSize', 'NarSize: -1728'), /NarSize: /),
  refused('NarSize with a fraction', withLines('NarSize', 'NarSize: 1728.0'), /NarSize: /),
  refused('NarSize in hex', withLines('NarSize', 'NarSize: 0x10'), /NarSize: /),
  refused('NarSize with a space', withLines('NarSize', 'NarSize: 1728 '), /NarSize: /),
  refused('NarSize in words', withLines('NarSize', 'NarSize: Infinity'), /NarSize: /),
  taken('NarSize with zeros before it', withLines('NarSize', 'NarSize: 001728')),
  stricter('NarSize twice', text([...lines, lines[6]!]), /NarSize: .*twice/),

  taken('no References', withLines('References')),
  taken('empty References', withLines('References', 'References: ')),
  taken(
    'References in disorder, twice, with spaces',
    withLines('References', `References:   ${reference} ${deriver}  ${reference} `),
  ),
  refused('References as full paths', withLines('References', `References: /nix/store/${reference}`), /References: /),
  refused('References with a comma', withLines('References', `References: ${reference},${deriver}`), /References: /),
  refused('References with a tab', withLines('References', `References: ${reference}\t${deriver}`), /References: /),
  refused('a hash part as reference', withLines('References', `References: ${hashPart(reference)}`), /References: /),
  refused('References twice', text([...lines, lines[7]!]), /References: .*twice/),
  stricter(
    'References twice, the first empty',
    withLines('References', 'References: ', lines[7]!),
    /References: .*twice/,
  ),

  taken('no Deriver', withLines('Deriver')),
  taken('an unknown Deriver', withLines('Deriver', 'Deriver: unknown-deriver')),
  taken('a Deriver that is no derivation', withLines('Deriver', `Deriver: ${reference}`)),
  refused('an empty Deriver', withLines('Deriver', 'Deriver: '), /Deriver: "" is not the base name/),
  refused('Deriver as full path', withLines('Deriver', `Deriver: /nix/store/${deriver}`), /Deriver: /),
  stricter('Deriver twice', text([...lines, lines[8]!]), /Deriver: .*twice/),

  taken('no Sig', withLines('Sig')),
  taken('two signatures in disorder', withLines('Sig', 'Sig: b:AAAA', 'Sig: a:AAAA')),
  taken('a signature twice', withLines('Sig', 'Sig: a:AAAA', 'Sig: a:AAAA')),
  // Nix refuses these since 2.34; older ones find no key for them, or fail to decode them.
  stricter('an empty Sig', withLines('Sig', 'Sig: '), /Sig: "" is not/),
  stricter('Sig without a name', withLines('Sig', 'Sig: :AAAA'), /Sig: /),
  stricter('Sig without a colon', withLines('Sig', 'Sig: AAAA'), /Sig: /),
  stricter('Sig that is not base64', withLines('Sig', 'Sig: a:A*AA'), /Sig: "a:A\*AA" is not/),

  taken('no CA', withLines('CA')),
  taken('an empty CA', withLines('CA', 'CA: ')),
  taken('CA of a text', withLines('CA', `CA: text:${fileHash}`)),
  taken('CA in hex', withLines('CA', `CA: fixed:sha256:${fileHashHex}`)),
  refused('CA of an unknown kind', withLines('CA', `CA: floating:${fileHash}`), /CA: .* is not a content address/),
  refused('CA without a hash', withLines('CA', 'CA: fixed:r:sha256'), /CA: /),
  refused('CA with a hash cut', withLines('CA', 'CA: fixed:r:sha256:1s9dwxlkq4'), /CA: /),
  refused('CA of a text by sha1', withLines('CA', `CA: text:sha1:${'0'.repeat(32)}`), /CA: /),
  refused('CA twice', text([...lines, lines[10]!]), /CA: .*twice/),

  refused('nothing', '', /StorePath: is missing/),
  refused('no newline at the end', whole.slice(0, -1), /line 11 has no newline at its end/),
  refused('the last line cut', whole.slice(0, -20), /line 11 has no newline at its end/),
  refused('an empty line at the end', `${whole}\n`, /line 12: "" is not <field>: <value>/),
  refused('an empty line', text(['', ...lines]), /line 1: "" is not/),
  refused('a last line without a colon', `${whole}nonsense\n`, /line 12: "nonsense" is not/),
  refused('a page of HTML', '<!DOCTYPE html>\n<title>404</title>\n', /line 1: /),
  stricter('a line without a colon', text(['nonsense', 'X: a', ...lines]), /line 1: "nonsense" is not/),
  stricter('no space after the colon', withLines('NarSize', 'NarSize:_1728'), /line 7: "NarSize:_1728" is not/),
  stricter(
    'nothing after the colon',
    withLines('References', 'References:', reference),
    /line 8: "References:" is not/,
  ),
]

describe('every form of a narinfo, beside Nix', () => {
  /** What `nix path-info --json` of a binary cache says. */
  interface NixJson extends NixPathInfo {
    url: string
    downloadHash?: string
    downloadSize?: number
  }

  const verdicts = new Map<string, NixJson>()

  /** A case's own store path: all cases lie in one cache, for Nix takes its time to start. */
  const ownHashPart = (each: Case) => String(cases.indexOf(each)).padStart(32, '0')
  const ownPath = (each: Case) => fullPath(`${ownHashPart(each)}-example-1.0`)
  const ownText = (each: Case) => each.text.replaceAll('0000000000000000000000000000000a', ownHashPart(each))

  before(async () => {
    const cache = join(store.root, 'cases')
    mkdirSync(cache)
    writeFileSync(join(cache, 'nix-cache-info'), 'StoreDir: /nix/store\n')
    for (const each of cases) writeFileSync(join(cache, `${ownHashPart(each)}.narinfo`), ownText(each))
    // With fallback, Nix goes on to the next path after a narinfo that it refuses.
    const options = ['--dry-run', '--option', 'fallback', 'true', '--option', 'substituters', `file://${cache}`]
    const { stderr } = await store.run('nix-store', ['--realise', ...options, ...cases.map(ownPath)])
    const offered = /will be fetched[^\n]*\n((?: {2}[^\n]+\n)+)/.exec(stderr)?.[1]
    assert.ok(offered, stderr)
    const paths = offered.trim().split(/\s+/)
    const json = await store.output('nix', ['path-info', '--json', '--store', `file://${cache}`, ...paths])
    // Nix 2.19 and newer key the paths, where 2.8 lists them.
    const parsed = JSON.parse(json.toString()) as NixJson[] | Record<string, NixJson>
    const infos = Array.isArray(parsed) ? parsed : Object.entries(parsed).map(([path, info]) => ({ ...info, path }))
    for (const info of infos) verdicts.set(info.path, info)
  })

  for (const each of cases) {
    test(each.label, () => {
      const info = verdicts.get(ownPath(each))
      assert.equal(info === undefined ? 'refuses' : 'takes', each.nix, 'what Nix does')
      if (each.refused !== undefined) {
        assert.throws(
          () => parseNarInfo(ownText(each), 'example.narinfo'),
          error => {
            assert.ok(error instanceof FormatError)
            assert.match(error.message, each.refused!)
            assert.match(error.message, /^example\.narinfo: [^\n]+$/)
            return true
          },
        )
        return
      }
      const ours = parseNarInfo(ownText(each))
      assert.deepEqual(
        {
          path: fullPath(ours.baseName),
          url: ours.url,
          downloadHash: ours.fileHash && sri(ours.fileHash.algorithm, ours.fileHash.digest),
          downloadSize: ours.fileSize || undefined,
          narHash: sri('sha256', ours.narHash),
          narSize: ours.narSize,
          references: ours.references.map(fullPath),
          deriver: ours.deriver && fullPath(ours.deriver),
          signatures: ours.signatures.length > 0 ? ours.signatures : undefined,
          ca: ours.ca,
        },
        {
          path: info?.path,
          url: info?.url,
          downloadHash: info?.downloadHash,
          downloadSize: info?.downloadSize,
          narHash: info?.narHash,
          narSize: info?.narSize,
          references: info?.references,
          deriver: info?.deriver,
          signatures: info?.signatures,
          ca: info?.ca,
        },
      )
      assert.deepEqual(parseNarInfo(printNarInfo(ours)), ours)
    })
  }

  function sri(algorithm: string, digest: Uint8Array): string {
    return `${algorithm}-${Buffer.from(digest).toString('base64')}`
  }
})

test('an empty StorePath, on which Nix 2.8 aborts', () => {
  assert.throws(() => parseNarInfo(withLines('StorePath', 'StorePath: ')), {
    name: 'FormatError',
    message: 'narinfo: StorePath: "" is not a store path below /nix/store',
  })
})

describe('the fields of a catalogue', () => {
  const tree = cidText(dagPbCid(Buffer.alloc(32, 1)))
  const nar = cidText(dagPbCid(Buffer.alloc(32, 2)))
  const ours = [`IPFSRoot: ${tree}`, `IPFSNar: ${nar}`, 'IPFSSig: a:AAAA', 'IPFSSig: b:AAAA']

  test('come last, in their order, signatures sorted', () => {
    const info = parseNarInfo(text([ours[3]!, ours[1]!, ours[0]!, ...lines, ours[2]!, ours[3]!]))
    assert.equal(printNarInfo(info), text([...lines, ...ours]))
    assert.deepEqual(info.ipfsSignatures, ['a:AAAA', 'b:AAAA'])
    assert.equal(cidText(info.root!), tree)
    assert.equal(cidText(info.nar!), nar)
  })

  test('may be absent', () => {
    const { root, nar, ipfsSignatures } = parseNarInfo(whole)
    assert.deepEqual({ root, nar, ipfsSignatures }, { root: undefined, nar: undefined, ipfsSignatures: [] })
  })

  const wrong: [string, RegExp][] = [
    ['IPFSRoot: ', /IPFSRoot: "" is not a CID/],
    ['IPFSRoot: bafy', /IPFSRoot: "bafy" is not a CID/],
    [`IPFSRoot: /ipfs/${tree}`, /IPFSRoot: /],
    [`IPFSRoot: ${tree} `, /IPFSRoot: /],
    [`IPFSRoot: ${tree.slice(0, -1)}`, /IPFSRoot: /],
    [`IPFSNar: ${nar}${nar}`, /IPFSNar: /],
    [`${ours[0]}\n${ours[0]}`, /IPFSRoot: is there twice/],
    [`${ours[1]}\n${ours[1]}`, /IPFSNar: is there twice/],
    ['IPFSSig: ', /IPFSSig: "" is not/],
    ['IPFSSig: AAAA', /IPFSSig: "AAAA" is not/],
  ]
  for (const [lines, message] of wrong) {
    test(`are refused as ${JSON.stringify(lines)}`, () => {
      assert.throws(() => parseNarInfo(`${whole}${lines}\n`), { name: 'FormatError', message })
    })
  }
})

test('a message shows the start of a long value, on one line', () => {
  assert.throws(() => parseNarInfo(withLines('NarSize', `NarSize: \u0007${'9'.repeat(100_000)}`)), {
    message: /^narinfo: NarSize: "\\u0007[9]{79}\.\.\." is not a number of bytes above 0$/,
  })
})
