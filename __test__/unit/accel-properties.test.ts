import test from 'ava'
import { AccelPropertyError } from '../../ts/errors/index.js'
import {
  resolveAccelerators,
  type AccelInput,
  type AccelOptions,
  type AccelProperties,
} from '../../ts/properties/index.js'

const read = (accel: AccelInput): AccelProperties => {
  const [first] = resolveAccelerators(accel).candidates
  if (first === undefined) throw new Error('no candidate')
  return first
}

const defaults: AccelProperties = {
  kernelIrqchip: 'on',
  kvmShadowMem: null,
  dirtyRingSize: 0,
  notifyVmexit: 'run',
  notifyWindow: 0,
  notifyRequired: false,
  notifyBudget: null,
  device: '/dev/kvm',
  notifyAsked: false,
}

const accepted: readonly (readonly [text: string, expected: Partial<AccelProperties>])[] = [
  ['kvm', {}],
  ['accel=kvm', {}],
  ['notify-window=5,accel=kvm', { notifyWindow: 5, notifyAsked: true }],
  ['kvm,id=x', {}],
  ['kvm,kernel-irqchip=on', {}],
  ['kvm,kernel-irqchip=off', { kernelIrqchip: 'off' }],
  ['kvm,nokernel-irqchip', { kernelIrqchip: 'off' }],
  ['kvm,kernel-irqchip=split', { kernelIrqchip: 'split' }],
  ['kvm,kernel-irqchip=off,kernel-irqchip=split', { kernelIrqchip: 'split' }],
  ['kvm,kvm-shadow-mem=-1', {}],
  ['kvm,kvm-shadow-mem=4096', { kvmShadowMem: 4096 }],
  ['kvm,kvm-shadow-mem=0x100000', { kvmShadowMem: 0x100000 }],
  ['kvm,dirty-ring-size=0', {}],
  ['kvm,dirty-ring-size=1024,dirty-ring-size=0', {}],
  ['kvm,notify-vmexit=run', { notifyAsked: true }],
  ['kvm,notify-vmexit=internal-error', { notifyVmexit: 'internal-error', notifyAsked: true }],
  ['kvm,notify-vmexit=run,notify-vmexit=internal-error', { notifyVmexit: 'internal-error', notifyAsked: true }],
  ['kvm,notify-vmexit=disable', { notifyVmexit: 'disable' }],
  ['kvm,notify-vmexit=disable,notify-window=5', { notifyVmexit: 'disable', notifyWindow: 5 }],
  ['kvm,notify-window=0x10', { notifyWindow: 16, notifyAsked: true }],
  ['kvm,notify-window=010', { notifyWindow: 8, notifyAsked: true }],
  ['kvm,notify-window=+5', { notifyWindow: 5, notifyAsked: true }],
  ['kvm,notify-window= 5', { notifyWindow: 5, notifyAsked: true }],
  ['kvm,notify-window=-0', { notifyAsked: true }],
  ['kvm,notify-window=4294967295', { notifyWindow: 4294967295, notifyAsked: true }],
  ['kvm,notify-required=on', { notifyRequired: true }],
  ['kvm,notify-budget=100/60', { notifyBudget: { exits: 100, seconds: 60 } }],
  ['kvm,notify-budget=4294967295/1', { notifyBudget: { exits: 4294967295, seconds: 1 } }],
  ['kvm,notify-budget=1/1,notify-budget=unlimited', {}],
  ['kvm,dirty-ring-size=1', { dirtyRingSize: 1 }],
  ['kvm,dirty-ring-size=2147483648', { dirtyRingSize: 2 ** 31 }],
  ['kvm,device=/tmp/a,,b', { device: '/tmp/a,b' }],
]

for (const [text, expected] of accepted) {
  test(`accepted: ${text}`, t => t.deepEqual(read(text), { ...defaults, ...expected }))
}

// The property and the reason equal QEMU's. The wording differs.
const refused: readonly (readonly [text: string, property: string, value: string | undefined, reason: RegExp])[] = [
  ['notify-vmexit=bad', 'notify-vmexit', 'bad', /does not accept value 'bad'/],
  ['notify-vmexit=RUN', 'notify-vmexit', 'RUN', /does not accept value 'RUN'/],
  ['notify-vmexit=a,,b', 'notify-vmexit', 'a,b', /does not accept value 'a,b'/],
  ['notify-vmexit', 'notify-vmexit', 'on', /does not accept value 'on'/],
  ['notify-window=-1', 'notify-window', '-1', /expects uint32_t/],
  ['notify-window=4294967296', 'notify-window', '4294967296', /expects uint32_t/],
  ['notify-window=18446744073709551616', 'notify-window', '18446744073709551616', /expects uint64/],
  ['notify-window=12k', 'notify-window', '12k', /expects uint64/],
  ['notify-window=1.5', 'notify-window', '1.5', /expects uint64/],
  ['notify-window=1e3', 'notify-window', '1e3', /expects uint64/],
  ['notify-window=09', 'notify-window', '09', /expects uint64/],
  ['notify-window=0x', 'notify-window', '0x', /expects uint64/],
  ['notify-window=0b11', 'notify-window', '0b11', /expects uint64/],
  ['notify-window=5 ', 'notify-window', '5 ', /expects uint64/],
  ['notify-window=', 'notify-window', '', /expects uint64/],
  ['notify-window=١', 'notify-window', '١', /expects uint64/],
  ['notify-window', 'notify-window', 'on', /expects uint64/],
  ['kvm-shadow-mem=abc', 'kvm-shadow-mem', 'abc', /expects int64/],
  ['kvm-shadow-mem=1M', 'kvm-shadow-mem', '1M', /expects int64/],
  ['kvm-shadow-mem=9223372036854775808', 'kvm-shadow-mem', '9223372036854775808', /expects int64/],
  ['kvm-shadow-mem=-2', 'kvm-shadow-mem', '-2', /from 0 to/],
  ['kvm-shadow-mem=9223372036854775807', 'kvm-shadow-mem', '9223372036854775807', /from 0 to/],
  ['dirty-ring-size=3', 'dirty-ring-size', '3', /power of two/],
  ['dirty-ring-size=4294967295', 'dirty-ring-size', '4294967295', /power of two/],
  ['dirty-ring-size=4294967296', 'dirty-ring-size', '4294967296', /expects uint32_t/],
  ['dirty-ring-size=-1', 'dirty-ring-size', '-1', /expects uint32_t/],
  ['kernel-irqchip=auto', 'kernel-irqchip', 'auto', /does not accept value 'auto'/],
  ['kernel-irqchip=ON', 'kernel-irqchip', 'ON', /does not accept value 'ON'/],
  ['kernel-irqchip=', 'kernel-irqchip', '', /does not accept value ''/],
  ['kernel_irqchip=on', 'kernel_irqchip', undefined, /'kvm-accel\.kernel_irqchip'.*'kernel-irqchip'/],
  ['help', 'help', undefined, /'kvm-accel\.help'/],
  ['foo=1', 'foo', undefined, /'kvm-accel\.foo'/],
  ['nofoo', 'foo', undefined, /'kvm-accel\.foo'/],
  ['=3', '', undefined, /'kvm-accel\.'/],
  ['notify-vmexit=bad,notify-vmexit=run', 'notify-vmexit', 'bad', /does not accept/],
  ['notify-window=5,notify-vmexit=bad,foo=1', 'notify-vmexit', 'bad', /does not accept/],
  ['foo=1,notify-vmexit=bad', 'foo', undefined, /kvm-accel\.foo/],
  ['notify-required=yes', 'notify-required', 'yes', /does not accept/],
  ['notify-required=on,notify-vmexit=disable', 'notify-required', 'on', /contradict each other/],
  ['notify-budget=0/1', 'notify-budget', '0/1', /N\/T/],
  ['notify-budget=1/0', 'notify-budget', '1/0', /N\/T/],
  ['notify-budget=1', 'notify-budget', '1', /N\/T/],
  ['notify-budget=1/2/3', 'notify-budget', '1/2/3', /N\/T/],
  ['notify-budget=4294967296/1', 'notify-budget', '4294967296/1', /N\/T/],
  ['notify-budget=-1/1', 'notify-budget', '-1/1', /N\/T/],
  ['device=', 'device', '', /path/],
]

for (const [text, property, value, reason] of refused) {
  test(`refused: kvm,${text}`, t => {
    const error = t.throws(() => read(`kvm,${text}`), { instanceOf: AccelPropertyError, code: 'ERR_ACCEL_PROPERTY' })
    t.is(error?.property, property)
    t.is(error?.value, value)
    t.regex(error?.message ?? '', reason)
    t.true((error?.remedy ?? '').length > 0)
  })
}

const objects: readonly (readonly [options: AccelOptions, expected: Partial<AccelProperties>])[] = [
  [{}, {}],
  [{ kernelIrqchip: 'split' }, { kernelIrqchip: 'split' }],
  [{ kvmShadowMem: 1048576 }, { kvmShadowMem: 1048576 }],
  [{ kvmShadowMem: '4M' }, { kvmShadowMem: 4 * 1024 * 1024 }],
  [{ kvmShadowMem: '4096' }, { kvmShadowMem: 4096 }],
  [{ kvmShadowMem: -1 }, {}],
  [
    { notifyVmexit: 'internal-error', notifyWindow: 7 },
    { notifyVmexit: 'internal-error', notifyWindow: 7, notifyAsked: true },
  ],
  [
    { notifyRequired: true, notifyBudget: '3/10' },
    { notifyRequired: true, notifyBudget: { exits: 3, seconds: 10 } },
  ],
  [{ device: '/dev/other' }, { device: '/dev/other' }],
]

for (const [options, expected] of objects) {
  test(`object accepted: ${JSON.stringify(options)}`, t => t.deepEqual(read(options), { ...defaults, ...expected }))
}

const badObjects: readonly (readonly [options: unknown, property: string, reason: RegExp])[] = [
  [{ notifyVmexits: 'run' }, 'notifyVmexits', /Did you mean 'notifyVmexit'/],
  [{ 'notify-vmexit': 'run' }, 'notify-vmexit', /unknown accelerator property/],
  [{ notifyVmexit: 'panic' }, 'notify-vmexit', /does not accept value 'panic'/],
  [{ notifyVmexit: 1 }, 'notify-vmexit', /expects string/],
  [{ notifyWindow: 1.5 }, 'notify-window', /uint64/],
  [{ notifyWindow: Number.NaN }, 'notify-window', /expects number/],
  [{ notifyWindow: -1 }, 'notify-window', /uint32_t/],
  [{ notifyWindow: '5' }, 'notify-window', /expects number/],
  [{ notifyRequired: 'on' }, 'notify-required', /expects boolean/],
  [{ kvmShadowMem: 'much' }, 'kvm-shadow-mem', /int64/],
  [{ kvmShadowMem: 1e21 }, 'kvm-shadow-mem', /int64/],
  [5, '', /expected an object/],
  [null, '', /expected an object/],
]

for (const [options, property, reason] of badObjects) {
  test(`object refused: ${JSON.stringify(options)}`, t => {
    const error = t.throws(() => read(options as AccelOptions), { instanceOf: AccelPropertyError })
    t.is(error?.property, property)
    t.regex(error?.message ?? '', reason)
  })
}

test('the normal form is frozen', t => {
  t.true(Object.isFrozen(read('kvm')))
})
