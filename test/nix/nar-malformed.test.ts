import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { NarParser, parseNar } from '../../src/nix/nar-reader.ts'
import { anything, formatErrorOf, narBytes, narLength, narString } from './support.ts'

describe('malformed NARs are refused, and the message says at which byte and where in the tree', () => {
  const head = ['nix-archive-1', '(', 'type']
  const entry = (name: string | Buffer, ...node: (string | Buffer)[]) => [
    ...['entry', '(', 'name', name, 'node', '(', 'type'],
    ...node,
    ...[')', ')'],
  ]
  const inDirectory = (...parts: (string | Buffer)[]) => narBytes(...head, 'directory', ...parts, ')')
  const regular = ['regular', 'contents', 'x']
  const cases: [what: string, nar: Buffer, message: RegExp][] = [
    ['nothing like a NAR', Buffer.from('#!/bin/sh\nexit 1\n'), /^not a NAR: it does not begin with "nix-archive-1"$/],
    ['another version', narBytes('nix-archive-2', '(', 'type', 'directory', ')'), /^not a NAR/],
    [
      'an unknown type',
      narBytes(...head, 'fifo', ')'),
      /at byte 56, in the root: expected "regular", "directory" or "symlink"/,
    ],
    [
      'a type that only begins well',
      narBytes(...head, 'rectangular', 'contents', '', ')'),
      /at byte 56, .*expected "regular"/,
    ],
    [
      'a tag that is wrong',
      narBytes('nix-archive-1', '(', 'typo', 'directory', ')'),
      /at byte 40, in the root: expected "type"/,
    ],
    [
      'a missing parenthesis',
      narBytes('nix-archive-1', 'type', 'directory', ')'),
      /at byte 24, in the root: expected "\("/,
    ],
    ['an empty node', narBytes('nix-archive-1', '(', ')'), /at byte 40, in the root: expected "type"/],
    ['a directory without end', inDirectory('node'), /at byte 80, in the root: expected "entry" or "\)"/],
    ['two types', narBytes(...head, 'directory', 'type', 'directory', ')'), /expected "entry" or "\)"/],
    [
      'an entry without a name',
      inDirectory('entry', '(', 'node', '(', 'type', ...regular, ')', ')'),
      /at byte 112, in the root: expected "name"/,
    ],
    ['an entry without a node', inDirectory('entry', '(', 'name', 'a', ')'), /at byte 144, in "a": expected "node"/],
    [
      'an entry with two nodes',
      inDirectory(
        'entry',
        '(',
        'name',
        'a',
        'node',
        '(',
        'type',
        ...regular,
        ')',
        'node',
        '(',
        'type',
        ...regular,
        ')',
        ')',
      ),
      /in "a": expected "\)"/,
    ],
    [
      'the fields of an entry in another order',
      inDirectory('entry', '(', 'node', '(', 'type', ...regular, ')', 'name', 'a', ')'),
      /expected "name"/,
    ],
    [
      'names that are not sorted',
      inDirectory(...entry('b', ...regular), ...entry('a', ...regular)),
      /at byte 328, in the root: the name "a" is not sorted: it comes after "b"/,
    ],
    [
      'names sorted without case',
      inDirectory(...entry('a', ...regular), ...entry('B', ...regular)),
      /"B" is not sorted: it comes after "a"/,
    ],
    [
      'a name before its prefix',
      inDirectory(...entry('ab', ...regular), ...entry('a', ...regular)),
      /"a" is not sorted/,
    ],
    [
      'a name twice',
      inDirectory(...entry('a', ...regular), ...entry('a', ...regular)),
      /in the root: the name "a" comes twice/,
    ],
    [
      'a name again after its directory',
      inDirectory(...entry('a', 'directory', ...entry('z', ...regular)), ...entry('a', ...regular)),
      /in the root: the name "a" comes twice/,
    ],
    ['an empty name', inDirectory(...entry('', ...regular)), /at byte 136, in the root: an entry has an empty name/],
    ['the name .', inDirectory(...entry('.', ...regular)), /the name "\." is not one of an entry/],
    ['the name ..', inDirectory(...entry('..', ...regular)), /the name "\.\." is not one of an entry/],
    [
      'a name with a slash',
      inDirectory(...entry('../../etc', ...regular)),
      /the name "\.\.\/\.\.\/etc" has a slash or a NUL byte/,
    ],
    [
      'a name with a NUL byte',
      inDirectory(...entry('a\0b', ...regular)),
      /the name "a\\u0000b" has a slash or a NUL byte/,
    ],
    [
      'a name of 256 bytes',
      inDirectory(...entry('n'.repeat(256), ...regular)),
      /at byte 136, in the root: an entry's name is 256 bytes long, over 255/,
    ],
    [
      'a name of 2^60 bytes',
      inDirectory('entry', '(', 'name', narLength(2n ** 60n)),
      /in the root: a length is over 2\^53 bytes/,
    ],
    [
      'padding of a name that is not zero',
      inDirectory(...entry(narString('abc', 1), ...regular)),
      /at byte 139, in "abc": padding is not zero/,
    ],
    [
      'executable after the contents',
      narBytes(...head, 'regular', 'contents', 'x', 'executable', '', ')'),
      /at byte 104, in the root: expected "\)"/,
    ],
    [
      'executable with a value',
      narBytes(...head, 'regular', 'executable', 'x', 'contents', 'x', ')'),
      /at byte 96, in the root: expected ""/,
    ],
    [
      'executable twice',
      narBytes(...head, 'regular', 'executable', '', 'executable', '', 'contents', 'x', ')'),
      /at byte 104, in the root: expected "contents"/,
    ],
    [
      'a regular file without contents',
      narBytes(...head, 'regular', ')'),
      /at byte 72, in the root: expected "contents" or "executable"/,
    ],
    [
      'contents twice',
      narBytes(...head, 'regular', 'contents', 'x', 'contents', 'x', ')'),
      /at byte 104, in the root: expected "\)"/,
    ],
    [
      'contents of 2^64 - 1 bytes',
      narBytes(...head, 'regular', 'contents', narLength(2n ** 64n - 1n)),
      /at byte 88, in the root: a length is over 2\^53 bytes/,
    ],
    [
      'padding of contents that is not zero',
      inDirectory(...entry('a', 'regular', 'contents', narString('abc', 0x20))),
      /in "a": padding is not zero/,
    ],
    ['a symlink without a target', narBytes(...head, 'symlink', ')'), /at byte 72, in the root: expected "target"/],
    ['an empty target', narBytes(...head, 'symlink', 'target', '', ')'), /the target of the symlink is empty/],
    [
      'a target with a NUL byte',
      narBytes(...head, 'symlink', 'target', 'a\0', ')'),
      /the target of the symlink has a NUL byte/,
    ],
    [
      'a target of 4,096 bytes',
      narBytes(...head, 'symlink', 'target', 'a'.repeat(4096), ')'),
      /symlink's target is 4096 bytes long, over 4095/,
    ],
    [
      'padding of a target that is not zero',
      narBytes(...head, 'symlink', 'target', narString('abc', 2), ')'),
      /at byte 99, in the root: padding is not zero/,
    ],
    [
      'a symlink with contents',
      narBytes(...head, 'symlink', 'target', 'a', 'contents', 'x', ')'),
      /in the root: expected "\)"/,
    ],
    [
      'something wrong deep inside',
      inDirectory(...entry('a', 'directory', ...entry('b\n', 'directory', ...entry('c\xff', 'regular', ')')))),
      /at byte 480, in "a\/b\\n\/c\\udcff": expected "contents"/,
    ],
  ]
  for (const [what, nar, expected] of cases) {
    test(what, () => {
      const message = formatErrorOf(() => parseNar(nar, anything))
      assert.match(message, expected)
      // In pieces it is the same, and it is noticed at a byte no later than where the piece ends.
      const parser = new NarParser(anything)
      const pieces = () => {
        for (let i = 0; i < nar.length; i++) parser.push(nar.subarray(i, i + 1))
        parser.end()
      }
      assert.equal(formatErrorOf(pieces), message)
    })
  }
})
