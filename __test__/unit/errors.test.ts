import test from 'ava'
import * as errors from '../../ts/errors/index.js'
import { didYouMean, nearest } from '../../ts/errors/suggest.js'

const { fromNative } = errors

// One row for each code: the class and its fields, from the data that the addon returns.
const native = [
  [{ code: 'ERR_KVM_UNAVAILABLE', reason: 'no-permission' }, errors.KvmUnavailableError, { reason: 'no-permission' }],
  [{ code: 'ERR_KVM_UNAVAILABLE', reason: 'new' }, errors.KvmUnavailableError, { reason: 'unknown' }],
  [
    { code: 'ERR_KVM_IOCTL', ioctl: 'KVM_CREATE_VM', errno: 22 },
    errors.KvmIoctlError,
    { ioctl: 'KVM_CREATE_VM', errno: 22, errnoName: 'EINVAL' },
  ],
  [{ code: 'ERR_KVM_IOCTL', ioctl: 'KVM_RUN', errno: 99999 }, errors.KvmIoctlError, { errno: 99999 }],
  [
    { code: 'ERR_KVM_CAPABILITY', capability: 'KVM_CAP_IRQFD' },
    errors.KvmCapabilityError,
    { capability: 'KVM_CAP_IRQFD' },
  ],
  [{ code: 'ERR_NOTIFY_UNSUPPORTED' }, errors.NotifyUnsupportedError, {}],
  [
    { code: 'ERR_ACCEL_PROPERTY', property: 'notify-window', value: 'x' },
    errors.AccelPropertyError,
    { property: 'notify-window', value: 'x' },
  ],
  [{ code: 'ERR_ACCELERATOR', accelerator: 'tcg' }, errors.AcceleratorError, { accelerator: 'tcg' }],
  [
    { code: 'ERR_GUEST_IMAGE', image: 'initrd', problem: 'does-not-fit' },
    errors.GuestImageError,
    { image: 'initrd', problem: 'does-not-fit' },
  ],
  [{ code: 'ERR_MACHINE_CONFIG', option: 'cpus' }, errors.MachineConfigError, { option: 'cpus' }],
  [{ code: 'ERR_OF_TOMORROW' }, errors.KvmAccelError, {}],
] as const

for (const [data, type, fields] of native) {
  test(`${JSON.stringify(data)} becomes a ${type.name}`, t => {
    const cause = new Error('below')
    const error = fromNative({ message: 'What.', remedy: 'Do.', ...data }, cause)
    t.is(error.constructor, type)
    t.true(error instanceof errors.KvmAccelError)
    t.is(error.name, type.name)
    t.like(error, { code: data.code, message: 'What.', remedy: 'Do.', cause, ...fields })
  })
}

test('an error without a remedy has neither the key remedy nor a cause', t => {
  const error = fromNative({ code: 'ERR_MACHINE_CONFIG', message: 'What.' })
  t.false('remedy' in error)
  t.false('cause' in error)
})

test('the nearest word has an edit distance of at most two', t => {
  const words = ['memory', 'cpus', 'kernel', '-M']
  t.is(nearest('memroy', words), 'memory')
  t.is(nearest('kernal', words), 'kernel')
  t.is(nearest('MEMORY', words), 'memory')
  t.is(nearest('disk', words), undefined)
  t.is(nearest('', words), undefined)
  t.is(didYouMean('cpu', words), " Did you mean 'cpus'?")
  t.is(didYouMean('disk', words), '')
})
