import test from 'ava'
import { AcceleratorError, AccelPropertyError } from '../../ts/errors/index.js'
import { resolveAccelerators } from '../../ts/properties/index.js'

test('the default accelerator is kvm', t => {
  const { candidates, warnings } = resolveAccelerators()
  t.is(candidates.length, 1)
  t.deepEqual(warnings, [])
})

test('an unavailable accelerator is skipped with a warning', t => {
  const { candidates, warnings } = resolveAccelerators(['tcg,thread=multi', 'foo', 'kvm,notify-window=5'])
  t.deepEqual(
    candidates.map(({ notifyWindow }) => notifyWindow),
    [5],
  )
  t.deepEqual(
    warnings.map(({ code }) => code),
    ['ACCELERATOR_SKIPPED', 'ACCELERATOR_SKIPPED'],
  )
  t.regex(warnings[0]?.message ?? '', /'tcg' of QEMU is not supported/)
  t.regex(warnings[1]?.message ?? '', /invalid accelerator 'foo'/)
})

test('accelerators after kvm are skipped, too', t => {
  t.is(resolveAccelerators(['kvm', 'tcg']).candidates.length, 1)
})

test('several kvm entries are tried in order, also objects', t => {
  const { candidates } = resolveAccelerators(['kvm,device=/a', { device: '/b' }])
  t.deepEqual(
    candidates.map(({ device }) => device),
    ['/a', '/b'],
  )
})

test('an invalid property is fatal, also if another accelerator follows', t => {
  t.throws(() => resolveAccelerators(['kvm,bad=1', 'tcg']), { instanceOf: AccelPropertyError })
  t.throws(() => resolveAccelerators(['tcg', 'kvm,bad=1']), { instanceOf: AccelPropertyError })
})

test('a property without a value is accepted with a warning, as QEMU deprecates it', t => {
  const { candidates, warnings } = resolveAccelerators('kvm,kernel-irqchip')
  t.is(candidates[0]?.kernelIrqchip, 'on')
  t.deepEqual(
    warnings.map(({ code }) => code),
    ['SHORT_FORM_OPTION'],
  )
  t.true(resolveAccelerators('kvm,notify-required').candidates[0]?.notifyRequired)
})

for (const [accel, name, message] of [
  ['KVM', 'KVM', /invalid accelerator 'KVM'/],
  ['kvm-accel', 'kvm-accel', /invalid/],
  ['kvm:tcg', 'kvm:tcg', /invalid accelerator 'kvm:tcg'/],
  ['kvm,,', 'kvm,', /invalid accelerator 'kvm,'/],
  [',notify-window=5', '', /invalid accelerator ''/],
  ['accel=', '', /invalid accelerator ''/],
  ['kvm,accel=tcg', 'tcg', /of QEMU is not supported/],
  ['', '', /names no accelerator/],
  ['notify-window=5', '', /names no accelerator/],
  ['qtest', 'qtest', /of QEMU is not supported/],
  ['xen', 'xen', /of QEMU is not supported/],
  ['hvf', 'hvf', /of QEMU is not supported/],
  ['whpx', 'whpx', /of QEMU is not supported/],
  ['nvmm', 'nvmm', /of QEMU is not supported/],
  ['hax', 'hax', /of QEMU is not supported/],
] as const) {
  test(`'${accel}' is refused by name`, t => {
    const error = t.throws(() => resolveAccelerators(accel), { instanceOf: AcceleratorError, code: 'ERR_ACCELERATOR' })
    t.is(error?.accelerator, name)
    t.regex(error?.message ?? '', message)
    t.true((error?.remedy ?? '').length > 0)
  })
}

test('the error of a list without kvm names each entry', t => {
  const error = t.throws(() => resolveAccelerators(['foo', 'tcg']), { instanceOf: AcceleratorError })
  t.is(error?.accelerator, 'foo:tcg')
  t.regex(error?.message ?? '', /'foo'.*'tcg'/)
})

test('an empty list is refused', t => {
  t.throws(() => resolveAccelerators([]), { instanceOf: AcceleratorError, message: /empty/ })
})
