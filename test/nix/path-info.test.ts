import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseHash } from '../../src/nix/hash.ts'
import { parsePathInfo, type ValidPath } from '../../src/nix/path-info.ts'
import { formatErrorOf } from './support.ts'

// The values are those of Nix's own test data: src/libstore-tests/data/path-info/ of Nix 2.32 (without folder), 2.33
// (json-1, json-2) and 2.36 (json-3), wrapped as src/nix/path-info.cc of the same version wraps them.
const foo = 'n5wkd9frr45pa74if5gpz9j7mifg27fh-foo'
const bar = 'g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-bar'
const sri = 'sha256-FePFYIlMuycIXPZbWi7LGEiMmZSX9FMbaQenWBzm1Sc='
const ca = 'fixed:r:sha256:1lr187v6dck1rjh2j6svpikcfz53wyl3qrlcbb405zlh13x0khhh'
const caSri = 'sha256-EMIJ+giQ/gLIWoxmPKjno3zHZrxbGymgzGGyZvZBIdM='
const sig = `${'A'.repeat(86)}==`
const full = (baseName: string) => `/nix/store/${baseName}`

const expected: ValidPath = {
  baseName: foo,
  narHash: parseHash(sri).digest,
  narSize: 34878,
  references: [bar, foo],
  deriver: `${bar}.drv`,
  ca,
  signatures: [`asdf:${sig}`, `qwer:${sig}`],
  registrationTime: 23423,
}
const bare: ValidPath = {
  baseName: bar,
  narHash: expected.narHash,
  narSize: 0,
  references: [],
  signatures: [],
  registrationTime: 0,
}

/** An entry with text hashes and full paths. */
const textual = {
  narHash: sri,
  narSize: 34878,
  // Not in order: the result is.
  references: [full(foo), full(bar)],
  ca,
  deriver: `${full(bar)}.drv`,
  registrationTime: 23423,
  ultimate: true,
  signatures: [`asdf:${sig}`, `qwer:${sig}`],
}
const bareTextual = {
  ...{ narHash: sri, narSize: 0, references: [], ca: null, deriver: null },
  ...{ registrationTime: null, signatures: [], ultimate: false },
}
/** An entry with base names and a content address in parts. */
const structured = {
  ...{ version: 2, storeDir: '/nix/store', narHash: sri, narSize: 34878, references: [bar, foo] },
  ...{ ca: { method: 'nar', hash: caSri }, deriver: `${bar}.drv`, registrationTime: 23423, ultimate: true },
  signatures: [`asdf:${sig}`, `qwer:${sig}`],
}
const bareStructured = { ...bareTextual, version: 2, storeDir: '/nix/store' }

describe('every shape that nix path-info --json has had says the same', () => {
  const shapes: [what: string, json: unknown][] = [
    [
      'Nix 2.4 to 2.18: an array; fields without a value are left out',
      [
        { path: full(foo), ...textual },
        { path: full(bar), narHash: sri, narSize: 0, references: [] },
        { path: full(`${bar}-not-there`), valid: false },
      ],
    ],
    [
      'older ones: hashes in nix32',
      [
        { path: full(foo), ...textual, narHash: 'sha256:09ymwqf5i9q7d4dm7x4pjjcqqj0qrcp5lnznbh42gfsci5hcbqqm' },
        { path: full(bar), ...bareTextual },
      ],
    ],
    [
      'Nix 2.19 to 2.32: an object by full path; null where it is not valid',
      { [full(foo)]: textual, [full(bar)]: bareTextual, [full(`${bar}-not-there`)]: null },
    ],
    [
      'Nix 2.33, --json-format 1, which is the default: also the version and the store in each',
      {
        [full(foo)]: { ...textual, version: 1, storeDir: '/nix/store' },
        [full(bar)]: { ...bareTextual, version: 1, storeDir: '/nix/store' },
      },
    ],
    [
      'Nix 2.33, --json-format 2: by base name, inside an object',
      {
        version: 2,
        storeDir: '/nix/store',
        info: { [foo]: structured, [bar]: bareStructured, [`${bar}-not-there`]: null },
      },
    ],
    [
      'Nix 2.35, --json-format 3: signatures in parts',
      {
        version: 3,
        storeDir: '/nix/store',
        info: {
          [foo]: {
            ...structured,
            version: 3,
            signatures: [
              { keyName: 'asdf', sig },
              { keyName: 'qwer', sig },
            ],
          },
          [bar]: { ...bareStructured, version: 3 },
        },
      },
    ],
    [
      // NixOS/nix pull request 14536; never in a release.
      'development versions of 2.33: hashes in parts',
      {
        version: 2,
        storeDir: '/nix/store',
        info: {
          [foo]: {
            ...structured,
            narHash: { algorithm: 'sha256', format: 'base16', hash: expected.narHash.toString('hex') },
            ca: { method: 'nar', hash: { algorithm: 'sha256', format: 'base64', hash: caSri.slice('sha256-'.length) } },
          },
          [bar]: bareStructured,
        },
      },
    ],
  ]
  for (const [what, json] of shapes) {
    test(what, () => {
      // As it comes from JSON.parse.
      assert.deepEqual(parsePathInfo(JSON.parse(JSON.stringify(json))), [expected, bare])
    })
  }

  test('content addresses in parts become the text that Nix writes', () => {
    const parse = (ca: unknown) =>
      parsePathInfo({ version: 2, storeDir: '/nix/store', info: { [foo]: { ...structured, ca } } })[0]!.ca
    const digest = Buffer.alloc(32).toString('base64')
    const sha1 = Buffer.alloc(20).toString('base64')
    assert.equal(parse({ method: 'nar', hash: caSri }), ca)
    assert.equal(parse({ method: 'flat', hash: `sha256-${digest}` }), `fixed:sha256:${'0'.repeat(52)}`)
    assert.equal(parse({ method: 'text', hash: `sha256-${digest}` }), `text:sha256:${'0'.repeat(52)}`)
    assert.equal(parse({ method: 'git', hash: `sha1-${sha1}` }), `fixed:git:sha1:${'0'.repeat(32)}`)
    assert.equal(parse({ method: 'nar', hash: `blake3-${digest}` }), `fixed:r:blake3:${'0'.repeat(52)}`)
  })

  test('nothing asked for, nothing said', () => {
    for (const json of [[], {}, { version: 2, storeDir: '/nix/store', info: {} }]) {
      assert.deepEqual(parsePathInfo(json), [])
    }
  })
})

describe('what is not understood is refused, by name', () => {
  const with_ = (fields: object) => ({ [full(foo)]: { ...textual, ...fields } })
  const cases: [what: string, json: unknown, message: RegExp][] = [
    ['no object', 'hello', /printed "hello": not a shape/],
    ['null', null, /printed null: not a shape/],
    ['a later version', { version: 4, storeDir: '/nix/store', info: {} }, /printed version 4: only 1, 2 and 3/],
    ['info that is no object', { version: 2, storeDir: '/nix/store', info: [] }, /"info" is \[\]/],
    ['another store', { version: 2, storeDir: '/gnu/store', info: {} }, /the store is "\/gnu\/store"/],
    ['another store in an entry', with_({ storeDir: '/gnu/store' }), /the store is "\/gnu\/store"/],
    ['a key that is no path', { hello: {} }, /a path is "hello"/],
    ['an array of paths', [full(foo)], /an entry is "\/nix\/store\/n5/],
    ['an entry without a path', [{ ...textual }], /a path is missing/],
    ['an entry that is no object', { [full(foo)]: 1 }, /n5wkd9frr45pa74if5gpz9j7mifg27fh-foo is 1, not an object/],
    ['no narHash', with_({ narHash: undefined }), /narHash of n5.*-foo is missing/],
    ['a narHash that is none', with_({ narHash: 'sha256-x' }), /"sha256-x" is not a hash/],
    ['a narHash by sha1', with_({ narHash: `sha1:${'0'.repeat(40)}` }), /narHash of n5.*-foo is "sha1:/],
    ['a narSize that is no number', with_({ narSize: '1' }), /narSize of n5.*-foo is "1"/],
    ['a narSize below zero', with_({ narSize: -1 }), /narSize of n5.*-foo is -1/],
    ['a time with a fraction', with_({ registrationTime: 1.5 }), /registrationTime of n5.*-foo is 1\.5/],
    ['references that are no list', with_({ references: {} }), /references of n5.*-foo is \{\}/],
    ['a reference that is no path', with_({ references: ['x'] }), /a reference of n5.*-foo is "x"/],
    ['a deriver that is no path', with_({ deriver: 'x' }), /deriver of n5.*-foo is "x"/],
    ['a method of content addressing that is new', with_({ ca: { method: 'new', hash: sri } }), /ca of n5.*-foo is \{/],
    ['a signature that is none', with_({ signatures: [1] }), /a signature of n5.*-foo is 1/],
    ['something long', { [full(foo)]: 'x'.repeat(100_000) }, /-foo is "x{99}\.\.\., not/],
  ]
  for (const [what, json, message] of cases) {
    test(what, () =>
      assert.match(
        formatErrorOf(() => parsePathInfo(json)),
        message,
      ),
    )
  }
})
