import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { after, test } from 'node:test'
import { readConfig } from '../../src/cli/config.ts'
import { UsageError } from '../../src/errors.ts'
import { tempFolder } from '../helpers/temp.ts'

const file = join(tempFolder({ after }), 'config.json')

function refused(read: () => unknown, ...says: string[]): void {
  assert.throws(
    read,
    (error: unknown) =>
      error instanceof UsageError && says.every(part => error.message.includes(part)) && !error.message.includes('\n'),
  )
}

test('a configuration file holds an object of known options, each of its type', () => {
  const wrong: [text: string, says: string][] = [
    ['{"stat": "/somewhere"}', '"stat"'],
    ['{"config": "/another"}', '"config"'],
    ['{"toString": "x"}', '"toString"'],
    ['{"__proto__": {"json": true}}', '"__proto__"'],
    ['{"json": "yes"}', 'json'],
    ['{"json": 1}', 'json'],
    ['{"verbose": null}', 'verbose'],
    ['{"state": 7}', 'state'],
    ['{"state": null}', 'state'],
    ['{"state": ["/a"]}', 'state'],
    ['["state"]', 'object'],
    ['null', 'object'],
    ['"state"', 'object'],
    ['state = x', 'JSON'],
    ['{"state": "/x"', 'JSON'],
    ['', 'JSON'],
  ]
  for (const [text, says] of wrong) {
    writeFileSync(file, text)
    refused(() => readConfig({ config: file }, {}), file, says)
  }
  refused(() => readConfig({ config: `${file}-absent` }, {}), `${file}-absent`)
  refused(() => readConfig({ config: '/' }, {}), '/')
})

test('an option goes before the environment, that before the file, and that before the default', () => {
  writeFileSync(file, JSON.stringify({ state: '/from/file', json: true, blocks: 'local' }))
  const environment = { NIX_IPFS_STATE: '/from/environment', NIX_IPFS_JSON: '0', NIX_IPFS_CONFIG: file }
  const config = readConfig({ config: file }, {})
  assert.deepEqual([config.state, config.json, config.blocks], ['/from/file', true, 'local'])
  assert.equal(readConfig({}, environment).state, '/from/environment')
  assert.equal(readConfig({}, environment).json, false)
  assert.equal(readConfig({}, environment).blocks, 'local')
  assert.equal(readConfig({ state: '/from/option', json: true }, environment).state, '/from/option')
  assert.equal(readConfig({ state: '/from/option', json: true }, environment).json, true)
  assert.equal(readConfig({ json: false }, { NIX_IPFS_JSON: '1' }).json, false)
  assert.deepEqual([readConfig({}, {}).json, readConfig({}, {}).verbose], [false, false])
})

test('a flag in the environment is 1 or 0', () => {
  for (const text of ['1', 'true']) assert.equal(readConfig({}, { NIX_IPFS_JSON: text }).json, true)
  for (const text of ['0', 'false', '']) assert.equal(readConfig({}, { NIX_IPFS_JSON: text }).json, false)
  for (const text of ['yes', 'TRUE', ' 1', '2']) refused(() => readConfig({}, { NIX_IPFS_JSON: text }), 'NIX_IPFS_JSON')
})

test('the state is made absolute, and must be named', () => {
  assert.equal(readConfig({ state: 'here/../there' }, {}).state, resolve('there'))
  refused(() => readConfig({ state: '' }, {}), '--state')
})

test('the user is a name or a number, and none where none is named', () => {
  assert.equal(readConfig({}, {}).user, undefined)
  assert.equal(readConfig({}, { NIX_IPFS_USER: '' }).user, undefined)
  assert.equal(readConfig({ user: 'somebody' }, { NIX_IPFS_USER: 'other' }).user, 'somebody')
  assert.equal(readConfig({}, { NIX_IPFS_USER: '998' }).user, '998')
  writeFileSync(file, JSON.stringify({ user: 'from-file' }))
  assert.equal(readConfig({ config: file }, {}).user, 'from-file')
  refused(() => readConfig({ user: '' }, {}), '--user')
  writeFileSync(file, JSON.stringify({ user: 998 }))
  refused(() => readConfig({ config: file }, {}), file, 'user')
})

test('the configuration cannot be changed', () => {
  assert.throws(() => Object.assign(readConfig({}, {}), { state: '/other' }), TypeError)
})
