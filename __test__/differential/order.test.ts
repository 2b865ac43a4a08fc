// Compares what kvm-accel and QEMU enable, with which arguments and in which order, apart from intended differences.
// __test__/golden lists all calls of kvm-accel.

import { guestFile } from '../helpers/guest-file.js'
import { interpose, type Call } from '../helpers/interpose.js'
import { cli } from '../helpers/paths.js'
import { kvm, preload, qemu, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, preload, qemu)

const MAX_VCPU_ID = 128

const startOf = async (program: string, first: readonly string[]): Promise<readonly Call[]> => {
  const { env, calls } = interpose('cap219')
  const machine = ['-M', 'microvm', '-accel', 'kvm,kernel-irqchip=on', '-m', '16M', '-kernel', guestFile('hello')]
  const rest = ['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot']
  const { status, stderr } = await run(program, [...first, ...machine, ...rest], { env })
  if (status !== 0) throw new Error(stderr)
  return calls()
}

const enabled = (calls: readonly Call[]) =>
  calls.filter(({ ioctl }) => ioctl === 'KVM_ENABLE_CAP').map(({ cap, arg }) => [cap, arg])

test('kvm-accel enables what QEMU enables, with the same arguments, in the same order', async t => {
  const ours = await startOf(process.execPath, [cli, 'run'])
  const theirs = await startOf('qemu-system-x86_64', [])
  // QEMU limits the APIC ids, which saves the kernel a table. A guest sees no difference.
  t.deepEqual(
    enabled(ours),
    enabled(theirs).filter(([cap]) => cap !== MAX_VCPU_ID),
  )
  t.is(enabled(ours).at(-2)?.[0], 219)

  const names = [ours, theirs].map(calls => calls.map(({ ioctl }) => ioctl))
  const slotsFirst = names.map(all => all.indexOf('KVM_SET_USER_MEMORY_REGION') < all.indexOf('KVM_CREATE_IRQCHIP'))
  t.deepEqual(slotsFirst, [true, false], 'a slot change after the irqchip costs milliseconds')
  for (const all of names) {
    t.true(all.lastIndexOf('KVM_ENABLE_CAP') < all.indexOf('KVM_CREATE_VCPU'))
    t.true(all.indexOf('KVM_CREATE_IRQCHIP') < all.indexOf('KVM_CREATE_VCPU'))
  }
})
