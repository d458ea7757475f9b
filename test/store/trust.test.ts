import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sha256 } from '../../src/cid.ts'
import { IntegrityError } from '../../src/errors.ts'
import type { ValidPath } from '../../src/nix/local-store.ts'
import { caText, makeSourcePath } from '../../src/nix/store-path.ts'
import { contentAddress, trustValidPath } from '../../src/store/trust.ts'

const narHash = sha256(Buffer.from('a NAR'))
const otherHash = sha256(Buffer.from('another NAR'))
const ca = caText({ method: 'recursive', algorithm: 'sha256', digest: narHash })
const dependency = `${'a'.repeat(32)}-dependency`

function valid(fields: Partial<ValidPath>): ValidPath {
  const plain = { narSize: 1, references: [], deriver: undefined, ca: undefined, signatures: [], registrationTime: 0 }
  return { ...plain, baseName: `${'0'.repeat(32)}-name`, narHash, ...fields }
}

test('a path whose bytes are those of the Nix database is local', () => {
  assert.equal(trustValidPath(valid({}), narHash), 'local')
})

test('other bytes than the Nix database knows are refused, whatever else is right', () => {
  const says = (error: unknown) => error instanceof IntegrityError && error.message.startsWith('/nix/store/')
  assert.throws(() => trustValidPath(valid({}), otherHash), says)
  assert.throws(() => trustValidPath(valid({ baseName: contentAddress('name', narHash), ca }), otherHash), says)
})

test('a path whose name follows from its bytes is content', () => {
  const baseName = contentAddress('name', narHash)
  assert.equal(trustValidPath(valid({ baseName, ca }), narHash), 'content')
  const references = [dependency]
  const referring = makeSourcePath({ name: 'name', narHash, references, selfReference: false })
  assert.equal(trustValidPath(valid({ baseName: referring, ca, references }), narHash), 'content')
})

test('a content address that does not lead to the path vouches for nothing', () => {
  const baseName = contentAddress('name', narHash)
  const other = caText({ method: 'recursive', algorithm: 'sha256', digest: otherHash })
  for (const wrong of [
    { ca },
    { baseName, ca: other },
    { baseName: contentAddress('name', otherHash), ca: other },
    { baseName, ca, references: [dependency] },
    { baseName, ca: 'fixed:git:sha256:0000000000000000000000000000000000000000000000000000' },
  ]) {
    assert.equal(trustValidPath(valid(wrong), narHash), 'local')
  }
})
