import test from 'ava'
import fc from '../helpers/random.js'
import { formatOptionText, parseOptionText } from '../../ts/properties/option-text.js'

// How QEMU 7.2 splits each text, according to its error messages.
const texts: readonly (readonly [
  text: string,
  pairs: readonly (readonly [key: string, value: string, bare?: true])[],
])[] = [
  ['', []],
  ['kvm', [['accel', 'kvm']]],
  ['kvm,', [['accel', 'kvm']]],
  ['kvm,,', [['accel', 'kvm,']]],
  ['kvm,,x', [['accel', 'kvm,x']]],
  ['k,,vm=1', [['accel', 'k,vm=1']]],
  [
    ',a=1',
    [
      ['accel', ''],
      ['a', '1'],
    ],
  ],
  ['accel=kvm', [['accel', 'kvm']]],
  ['accel=', [['accel', '']]],
  ['a=b,,c', [['a', 'b,c']]],
  ['a=b,,', [['a', 'b,']]],
  ['a=b=c', [['a', 'b=c']]],
  [
    'kvm,=3',
    [
      ['accel', 'kvm'],
      ['', '3'],
    ],
  ],
  [
    'kvm,foo',
    [
      ['accel', 'kvm'],
      ['foo', 'on', true],
    ],
  ],
  [
    'kvm,nofoo',
    [
      ['accel', 'kvm'],
      ['foo', 'off', true],
    ],
  ],
  [
    'kvm,x,,y=3',
    [
      ['accel', 'kvm'],
      ['x', 'on', true],
      ['', 'on', true],
      ['y', '3'],
    ],
  ],
  [
    'kvm,a=1,a=2',
    [
      ['accel', 'kvm'],
      ['a', '1'],
      ['a', '2'],
    ],
  ],
]

for (const [text, pairs] of texts) {
  test(`'${text}' splits as QEMU splits it`, t => {
    t.deepEqual(
      parseOptionText(text, 'accel'),
      pairs.map(([key, value, bare]) => (bare ? { key, value, bare } : { key, value })),
    )
  })
}

test('a bare word that is a known key is not parsed as a negation', t => {
  t.deepEqual(parseOptionText('kvm,notify-window', 'accel', ['notify-window']).at(-1), {
    key: 'notify-window',
    value: 'on',
    bare: true,
  })
})

test('formatted text is parsed back', t => {
  const key = fc.string({ minLength: 1 }).filter(text => !/[,=]/.test(text))
  const pair = fc.record({ key, value: fc.string() }, { noNullPrototype: true })
  fc.assert(
    fc.property(fc.array(pair), pairs => {
      t.deepEqual(parseOptionText(formatOptionText(pairs), 'accel'), pairs)
    }),
  )
})

test('every text is split into pairs with a key and a value', t => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(',', '=', 'a', 'no', ' ') }), text => {
      const pairs = parseOptionText(text, 'accel')
      t.true(pairs.every(({ key, value }) => typeof key === 'string' && typeof value === 'string'))
      t.deepEqual(
        parseOptionText(formatOptionText(pairs)).map(({ value }) => value),
        pairs.map(({ value }) => value),
      )
    }),
  )
})
