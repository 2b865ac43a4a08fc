import { once } from 'node:events'
import { Machine, MachineStateError, guestImage, type MachineOptions, type StopEvent } from 'kvm-accel'
import { kvm, requires } from '../helpers/requires.js'

const test = requires(kvm)

const spin = (options: Partial<MachineOptions> = {}): Promise<Machine> =>
  Machine.create({ kernel: guestImage('spin'), memory: '16M', ...options })

test('the register file of each vCPU can be read while the machine does not run', async t => {
  await using machine = await spin({ cpus: 2 })
  t.deepEqual(
    machine.vcpus.map(({ index }) => index),
    [0, 1],
  )
  const [boot, other] = await Promise.all(machine.vcpus.map(vcpu => vcpu.state()))
  t.is(boot?.mpState, 'runnable')
  t.is(other?.mpState, 'uninitialized')
  t.is((boot?.control.cr0 ?? 0n) & 1n, 1n, 'protected mode, as PVH starts a kernel')
  await machine.start()
  const error = await t.throwsAsync(machine.vcpus[0]!.state(), { instanceOf: MachineStateError })
  t.deepEqual([error?.code, error?.state], ['ERR_MACHINE_STATE', 'running'])
  t.deepEqual(error?.allowed, ['prelaunch', 'paused', 'debug', 'guest-panicked', 'internal-error', 'shutdown'])
  await t.throwsAsync(machine.vcpus[1]!.setState({}), { code: 'ERR_MACHINE_STATE' })
  await machine.pause()
  const state = await machine.vcpus[0]!.state()
  t.true(state.general.rip >= 0x100000n && state.general.rip < 0x200000n)
  t.is(state.segments.cs.attributes & 0x4080, 0x4080, '32-bit code, present')
  t.true(state.xsave.length >= 4096)
  t.is(state.lapic?.length, 1024)
  t.true(state.msrs.has(0x174) && state.msrs.has(0x10))
  t.is(state.events.tripleFault, false)
  await machine.stop()
  await t.throwsAsync(machine.vcpus[0]!.state(), { code: 'ERR_MACHINE_STATE', message: /has ended/ })
})

test('a state that was read can be written, and a change takes effect at resume', async t => {
  // jmp to itself: the guest changes no register.
  await using machine = await Machine.create({
    kernel: Uint8Array.of(0xeb, 0xfe),
    kernelFormat: 'flat',
    memory: '16M',
  })
  const vcpu = machine.vcpus[0]!
  await machine.start()
  await machine.pause()
  await vcpu.setState(await vcpu.state())
  await vcpu.setState({ general: { r15: 0n, rbx: 0x1234_5678n }, debug: { dr0: 0x4000n } })
  t.is((await vcpu.state()).general.rbx, 0x1234_5678n, 'before the machine continues')
  await machine.resume()
  await machine.pause()
  const { general, debug } = await vcpu.state()
  t.is(general.rbx, 0x1234_5678n, 'and after: the guest does not touch rbx')
  t.is(debug.dr0, 0x4000n)
  await t.throwsAsync(vcpu.setState({ general: { rip: -1n } }), { code: 'ERR_ARGUMENT' })
})

test('a reset discards a change that was not written yet', async t => {
  await using machine = await spin()
  const vcpu = machine.vcpus[0]!
  const before = (await vcpu.state()).general
  await vcpu.setState({ general: { rip: 0n } })
  await machine.reset()
  t.deepEqual((await vcpu.state()).general, before)
})

test('a pending triple fault is a guest reset', async t => {
  await using machine = await spin({ noReboot: true })
  await machine.vcpus[0]!.setState({ events: { tripleFault: true } })
  await machine.start()
  t.is((await machine.wait()).reason, 'guest-reset')
})

test('a change that the kernel rejects stops the machine with a dump, and after a reset it runs again', async t => {
  await using machine = await spin()
  await machine.vcpus[0]!.setState({ control: { cr4: 1n << 63n } })
  const stopped = once(machine, 'stop') as Promise<[StopEvent]>
  await machine.start()
  const [{ state, exit }] = await stopped
  t.is(state, 'internal-error')
  t.regex(
    exit?.detail ?? '',
    /vCPU 0: the kernel rejected the changed registers: KVM_SET_SREGS2? failed.*Invalid argument/,
  )
  t.regex(exit?.report ?? '', /RIP=[\s\S]*Code=/)
  await machine.reset()
  await machine.start()
  t.is(machine.state, 'running')
})
