import test from 'ava'
import { EscapeKeys } from '../../ts/cli/process/escape-keys.js'

/** Returns the result of keys typed in these pieces: actions, and the guest's keys as text. */
const typed = (...pieces: string[]): string[] => {
  const keys = new EscapeKeys()
  return pieces.flatMap(piece =>
    keys
      .read(Buffer.from(piece, 'latin1'))
      .map(one => (one.kind === 'guest' ? one.bytes.toString('latin1') : `<${one.kind}>`)),
  )
}

const cases: readonly (readonly [what: string, pieces: readonly string[], expected: readonly string[]])[] = [
  ['plain keys are the guest’s, Ctrl-C and Ctrl-Z too', ['ls\r\x03\x1a'], ['ls\r\x03\x1a']],
  ['Ctrl-A x quits', ['ab\x01xcd'], ['ab', '<quit>', 'cd']],
  ['Ctrl still held', ['\x01\x18\x01\x03'], ['<quit>', '<help>']],
  ['help by each of its keys', ['\x01c\x01h\x01?'], ['<help>', '<help>', '<help>']],
  ['Ctrl-A twice is one for the guest', ['a\x01\x01b'], ['a', '\x01', 'b']],
  ['three of them begin another', ['\x01\x01\x01x'], ['\x01', '<quit>']],
  ['in pieces', ['a\x01', 'x', '\x01', '\x01', 'x'], ['a', '<quit>', '\x01', 'x']],
  ['a key without a meaning is dropped', ['a\x01yb'], ['a', 'b']],
  ['nothing typed', [''], []],
  ['bytes beyond ASCII pass', ['\xff\x00\x80'], ['\xff\x00\x80']],
]

for (const [what, pieces, expected] of cases) test(what, t => t.deepEqual(typed(...pieces), expected))
