// The order of the KVM calls is part of the contract. `__test__/golden/start-N-vcpus.txt` has all
// calls of a start, phase by phase, with the differences from QEMU. After an intended change, run
// UPDATE_GOLDEN=1 npx ava __test__/kvm/order.test.ts and read the diff.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describeStart, phases } from '../helpers/call-order.js'
import { cli, root } from '../helpers/paths.js'
import { guestFile } from '../helpers/guest-file.js'
import { enableArguments, interpose } from '../helpers/interpose.js'
import { kvm, preload, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, preload)

/**
 * Makes every host alike: with notify exits, and without nested virtualization, which needs one
 * more call for each vCPU.
 */
const HOST = 'cap219;cap:157=0'

/** The KVM calls of a machine with two vCPUs, by name and in order. */
const startUp = async (accel: string, ...options: string[]) => {
  const { env, calls } = interpose(HOST)
  const machine = ['-accel', accel, '-m', '16M', '-smp', '2', '-kernel', guestFile('hello'), '-no-reboot', ...options]
  const { status, stderr } = await run(process.execPath, [cli, 'run', ...machine], { env })
  return { status, stderr, calls: calls(), names: calls().map(({ ioctl }) => ioctl) }
}

for (const vcpus of [1, 2]) {
  test(`the calls of a start with ${vcpus} vCPU${vcpus === 1 ? '' : 's'} equal the golden file`, async t => {
    const { status, stderr, calls } = await startUp('kvm', '-smp', String(vcpus))
    t.is(status, 0, stderr)
    const golden = join(root, `__test__/golden/start-${vcpus}-vcpus.txt`)
    const text = describeStart(calls, phases(vcpus))
    t.notRegex(text, /MISSING/)
    if (process.env['UPDATE_GOLDEN']) writeFileSync(golden, text)
    else t.is(text, existsSync(golden) ? readFileSync(golden, 'utf8') : '')
  })
}

test('nothing is enabled or changed after the first vCPU, and all vCPUs exist before one runs', async t => {
  const { status, stderr, calls, names } = await startUp('kvm')
  t.is(status, 0, stderr)
  const firstVcpu = names.indexOf('KVM_CREATE_VCPU')
  t.true(firstVcpu > 0)
  const about219 = calls.flatMap(({ cap }, at) => (cap === 219 ? [at] : []))
  t.is(about219.length, 2, 'asked and enabled')
  t.true(about219.every(at => at < firstVcpu))
  for (const early of ['KVM_ENABLE_CAP', 'KVM_SET_USER_MEMORY_REGION', 'KVM_CREATE_IRQCHIP', 'KVM_CREATE_PIT2']) {
    t.true(names.includes(early))
    t.true(names.lastIndexOf(early) < firstVcpu, early)
  }
  t.true(names.lastIndexOf('KVM_SET_USER_MEMORY_REGION') < names.indexOf('KVM_CREATE_IRQCHIP'))
  t.true(names.lastIndexOf('KVM_CREATE_VCPU') < names.indexOf('KVM_RUN'))
})

test('capability 219 is checked once, on the system fd, and enabled with the window above the flags', async t => {
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

test('lostTickPolicy discard makes a call for the PIT, and delay makes none', async t => {
  const asked = async (...options: string[]): Promise<boolean> =>
    (await startUp('kvm', ...options)).names.includes('KVM_REINJECT_CONTROL')
  t.true(await asked('-global', 'kvm-pit.lost_tick_policy=discard'))
  t.false(await asked('-global', 'kvm-pit.lost_tick_policy=delay'))
})
