import test from 'ava'
import { formatSize, parseSize } from '../../ts/schema/size.js'

const MiB = 1024 * 1024

// Each row agrees with QEMU 7.2's -m.
for (const [text, bytes] of [
  ['128', 128 * MiB],
  ['64M', 64 * MiB],
  ['64m', 64 * MiB],
  ['1.5G', 1536 * MiB],
  ['1.G', 1024 * MiB],
  ['1000k', 1000 * 1024],
  ['64b', 64],
  ['64B', 64],
  ['1t', 1024 * 1024 * MiB],
  ['1P', 2 ** 50],
  ['0x40', 64 * MiB],
  ['0x40M', 64 * MiB],
  ['0x4b', 0x4b * MiB],
  ['0', 0],
  ['1.3G', Math.round(1.3 * 1024 * MiB)],
] as const) {
  test(`${text} is a size`, t => t.is(parseSize(text), bytes))
}

for (const text of [
  '',
  '1.5',
  '0.5',
  '64MB',
  '64Mi',
  '-5',
  '+5',
  'abc',
  '1e3',
  '0x1.8M',
  ' 1M',
  '1 M',
  'M',
  '.5G',
  '1.5b',
]) {
  test(`'${text}' is not a size`, t => t.is(parseSize(text), 'syntax'))
}

for (const text of ['99999999T', '8P', '1E', '99999999999999999999']) {
  test(`${text} is out of range`, t => t.is(parseSize(text), 'range'))
}

test('a number without a suffix counts the given unit', t => {
  t.is(parseSize('4096', 'B'), 4096)
  t.is(parseSize('4K', 'B'), 4096)
})

test('sizes are formatted with the largest suffix that divides them', t => {
  t.deepEqual([0, 1, 1024, 1536, MiB, 3 * 2 ** 30, 2 ** 40].map(formatSize), ['0', '1', '1K', '1536', '1M', '3G', '1T'])
})
