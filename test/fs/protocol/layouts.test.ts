import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, test } from 'node:test'
import * as constants from '../../../src/fs/protocol/constants.ts'
import * as layouts from '../../../src/fs/protocol/layouts.ts'
import { MAX_NAME_BYTES } from '../../../src/nix/tree.ts'
import { compile } from '../../helpers/compile.ts'
import { output } from '../../helpers/run.ts'
import { tempFolder } from '../../helpers/temp.ts'

// Every number of the protocol is held against <linux/fuse.h> of this machine, by a C program that prints them.

/** The C struct of each layout. What is not in here, or not in layouts.ts, fails. */
const structs: Record<keyof typeof layouts, string> = {
  IN_HEADER: 'fuse_in_header',
  OUT_HEADER: 'fuse_out_header',
  ATTR: 'fuse_attr',
  ENTRY_OUT: 'fuse_entry_out',
  ATTR_OUT: 'fuse_attr_out',
  READ_IN: 'fuse_read_in',
  GETXATTR_IN: 'fuse_getxattr_in',
  GETXATTR_OUT: 'fuse_getxattr_out',
  INTERRUPT_IN: 'fuse_interrupt_in',
  DIRENT: 'fuse_dirent',
  DIRENTPLUS: 'fuse_direntplus',
  STATFS_OUT: 'fuse_kstatfs',
  INIT_IN: 'fuse_init_in',
  INIT_OUT: 'fuse_init_out',
  NOTIFY_INVAL_INODE_OUT: 'fuse_notify_inval_inode_out',
  NOTIFY_INVAL_ENTRY_OUT: 'fuse_notify_inval_entry_out',
}

/** Fields that are called otherwise here, because `size` is that of the whole struct. */
const fields: Record<string, string> = {
  'ATTR.bytes': 'size',
  'READ_IN.length': 'size',
  'GETXATTR_IN.length': 'size',
  'GETXATTR_OUT.length': 'size',
  'DIRENTPLUS.entry': 'entry_out',
  // A body of INIT as it was before 7.36 ends where flags2 is now.
  'INIT_IN.oldSize': 'flags2',
}

/** What younger versions of the protocol have brought, by minor version: an older header does not know it. */
const since: Record<string, number> = {
  'FUSE.STATX': 39,
  'INIT_FLAGS2.FUSE_NO_EXPORT_SUPPORT': 40,
  'NOTIFY.RESEND': 40,
  'FUSE.COPY_FILE_RANGE_64': 45,
}
/** Of Debian 12, the oldest that this is developed with. */
const OLDEST_HEADER = 38

const snakeCase = (name: string) => name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)

/** Our name and number of everything, and the C expression that says the same. */
function* everything(): Generator<[name: string, ours: number, theirs: string]> {
  for (const [layout, ours] of Object.entries(layouts)) {
    const struct = structs[layout as keyof typeof layouts]
    for (const [field, number] of Object.entries(ours)) {
      const name = `${layout}.${field}`
      const member = fields[name] ?? snakeCase(field)
      yield [name, number, field === 'size' ? `sizeof(struct ${struct})` : `offsetof(struct ${struct}, ${member})`]
    }
  }
  for (const [name, opcode] of Object.entries(constants.FUSE)) yield [`FUSE.${name}`, opcode, `FUSE_${name}`]
  for (const [name, flag] of Object.entries(constants.INIT_FLAGS)) yield [`INIT_FLAGS.${name}`, flag, name]
  // Bits from 32 on.
  for (const [name, flag] of Object.entries(constants.INIT_FLAGS2)) {
    yield [`INIT_FLAGS2.${name}`, flag, `${name} / 0x100000000`]
  }
  for (const [name, code] of Object.entries(constants.NOTIFY)) yield [`NOTIFY.${name}`, code, `FUSE_NOTIFY_${name}`]
  for (const [name, type] of Object.entries(constants.DT)) yield [`DT.${name}`, type, `DT_${name}`]
  yield ['MAX_NAME_BYTES', MAX_NAME_BYTES, 'NAME_MAX']
  yield ['FUSE_MAJOR', constants.FUSE_MAJOR, 'FUSE_KERNEL_VERSION']
  yield ['sizeof(fuse_statfs_out)', layouts.STATFS_OUT.size, 'sizeof(struct fuse_statfs_out)']
  yield ['before a name', layouts.DIRENT.size, 'offsetof(struct fuse_dirent, name)']
}

function program(): string {
  const lines = [...everything()].map(([name, , theirs]) => {
    const print = `  printf("%lld ${name}\\n", (long long)(${theirs}));`
    const minor = since[name]
    return minor === undefined ? print : `#if FUSE_KERNEL_MINOR_VERSION >= ${minor}\n${print}\n#endif`
  })
  return `
#define _GNU_SOURCE
#include <dirent.h>
#include <limits.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdio.h>
int main(void) {
  printf("%d minor\\n", FUSE_KERNEL_MINOR_VERSION);
${lines.join('\n')}
  return 0;
}
`
}

/** What the header says, by name. */
async function readHeader(): Promise<Map<string, number>> {
  const printed = await output(await compile(program(), join(tempFolder({ after }, 'layouts'), 'layouts')), [])
  return new Map(
    `${printed}`
      .trim()
      .split('\n')
      .map(line => [line.slice(line.indexOf(' ') + 1), Number(line.slice(0, line.indexOf(' ')))]),
  )
}

const header = await readHeader()
const minor = header.get('minor')!

test('every size, offset and number is that of <linux/fuse.h>', () => {
  for (const [name, ours] of everything()) {
    const theirs = header.get(name)
    if (theirs !== undefined) assert.equal(ours, theirs, name)
  }
})

test('nothing is left out but what the header is too old to know', () => {
  assert.ok(minor >= OLDEST_HEADER, `<linux/fuse.h> is of 7.${minor}`)
  const names = [...everything()].map(([name]) => name)
  assert.deepEqual(
    names.filter(name => !header.has(name)),
    names.filter(name => (since[name] ?? 0) > minor),
  )
  // All that may be left out is known here, and nothing is called young that even the oldest header has.
  for (const [name, first] of Object.entries(since)) assert.ok(names.includes(name) && first > OLDEST_HEADER, name)
})

test('every layout is compared', () => {
  assert.deepEqual(Object.keys(structs).sort(), Object.keys(layouts).sort())
})

test('every opcode of the header is known', async () => {
  const source = await output('gcc', ['-E', '-P', '-x', 'c', '-'], { input: '#include <linux/fuse.h>' })
  const opcodes = /enum fuse_opcode \{([^}]*)\}/.exec(`${source}`)?.[1] ?? ''
  const found = [...opcodes.matchAll(/\bFUSE_(\w+) = (\d+)/g)]
    .map(([, name, number]) => [name!, Number(number)])
    // The other is 26 as a kernel of the other byte order would write it.
    .filter(([name]) => name !== 'INIT_BSWAP_RESERVED')
  const known = Object.entries(constants.FUSE)
  const expected = known.filter(([name]) => (since[`FUSE.${name}`] ?? 0) <= minor)
  // A header that is younger than our version of the protocol may have more, which we answer with ENOSYS.
  assert.deepEqual(minor > constants.FUSE_MINOR ? found.slice(0, expected.length) : found, expected)
  for (const [, opcode] of known) assert.ok(opcode < constants.OPCODES)
})
