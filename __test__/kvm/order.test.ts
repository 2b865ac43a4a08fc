import { cli } from '../helpers/paths.js'
import { guestFile } from '../helpers/guest-file.js'
import { enableArguments, interpose } from '../helpers/interpose.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, preload)

/** The KVM calls of a machine with two vCPUs, by name and in order. */
const startUp = async (accel: string, ...options: string[]) => {
  const { env, calls } = interpose('cap219')
  const machine = ['-accel', accel, '-m', '16M', '-smp', '2', '-kernel', guestFile('hello'), '-no-reboot', ...options]
  const { status, stderr } = await run(process.execPath, [cli, 'run', ...machine], { env })
  return { status, stderr, calls: calls(), names: calls().map(({ ioctl }) => ioctl) }
}

test('the order of the calls: capabilities, memory slots, irqchip, PIT, vCPUs, and nothing is enabled after the first vCPU', async t => {
  const { status, stderr, names } = await startUp('kvm')
  t.is(status, 0, stderr)
  const order = [
    'KVM_GET_API_VERSION',
    'KVM_CREATE_VM',
    'KVM_ENABLE_CAP',
    'KVM_SET_USER_MEMORY_REGION',
    'KVM_CREATE_IRQCHIP',
    'KVM_CREATE_PIT2',
    'KVM_CREATE_VCPU',
    'KVM_SET_CPUID2',
    'KVM_RUN',
  ]
  const places = order.map(name => names.indexOf(name))
  t.false(places.includes(-1), `missing: ${order.filter((_, at) => places[at] === -1).join(', ')}`)
  t.deepEqual(
    places,
    places.toSorted((a, b) => a - b),
  )
  const firstVcpu = names.indexOf('KVM_CREATE_VCPU')
  t.true(names.lastIndexOf('KVM_ENABLE_CAP') < firstVcpu)
  t.true(names.lastIndexOf('KVM_SET_USER_MEMORY_REGION') < names.indexOf('KVM_CREATE_IRQCHIP'))
  t.true(names.lastIndexOf('KVM_CREATE_VCPU') < names.indexOf('KVM_RUN'), 'all vCPUs exist before the first one runs')
})

test('capability 219 is asked once, on the system fd, and enabled with the window above the flags', async t => {
  const { calls } = await startUp('kvm,notify-window=7')
  const asked = calls.filter(({ ioctl, cap }) => ioctl === 'KVM_CHECK_EXTENSION' && cap === 219)
  const system = calls.find(({ ioctl }) => ioctl === 'KVM_CREATE_VM')?.fd
  t.deepEqual(
    asked.map(({ fd }) => fd),
    [system],
  )
  t.deepEqual(enableArguments(calls, 219), ['0x700000003'])
  t.deepEqual(enableArguments(calls, 218), ['0x1'], 'the triple-fault event')
})

test('the kernel is asked to discard lost ticks of the PIT, and to delay them it is not asked', async t => {
  const asked = async (...options: string[]): Promise<boolean> =>
    (await startUp('kvm', ...options)).names.includes('KVM_REINJECT_CONTROL')
  t.true(await asked('-global', 'kvm-pit.lost_tick_policy=discard'))
  t.false(await asked('-global', 'kvm-pit.lost_tick_policy=delay'))
})
