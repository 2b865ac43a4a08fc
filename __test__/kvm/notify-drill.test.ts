// Tests the drill, which makes the same decisions as a real exit, on any host.

import { Machine, guestImage, type MachineOptions, type NotifyEvent } from 'kvm-accel'
import { once } from 'node:events'
import { kvm, requires } from '../helpers/requires.js'

/** Creates a machine of two vCPUs whose guest has printed its first word and spins. */
const spinning = async (accel: NonNullable<MachineOptions['accel']>): Promise<Machine> => {
  const machine = await Machine.create({ accel, memory: '8M', cpus: 2, kernel: guestImage('spin'), serial: 'stream' })
  await machine.start()
  await once(machine.serial, 'data')
  return machine
}

const drill = requires(kvm)

for (const vcpu of [0, 1]) {
  drill(`A drill on vCPU ${vcpu} of a running machine is marked, counted and resumed`, async t => {
    await using machine = await spinning({ notifyVmexit: 'run' })
    const events: NotifyEvent[] = []
    machine.on('notify', event => events.push(event))
    for (let i = 0; i < 3; i++) {
      await Promise.all([once(machine, 'notify'), machine.injectNotify({ vcpu })])
    }
    t.is(machine.state, 'running')
    t.deepEqual(
      events.map(({ total }) => total),
      [1, 2, 3],
    )
    for (const event of events) t.like(event, { vcpu, contextInvalid: false, resumed: true, injected: true })
    t.is(machine.accel.notify.total, 3)
  })
}

drill('the event of a drill has the guest’s registers and instruction', async t => {
  await using machine = await spinning('kvm')
  const inject = async (): Promise<NotifyEvent> => {
    const arrived = once(machine, 'notify') as Promise<[NotifyEvent]>
    await machine.injectNotify()
    return (await arrived)[0]
  }
  // The guest may not have reached its loop yet.
  let event = await inject()
  for (let tries = 0; tries < 1000 && !event.instruction.startsWith('jmp'); tries++) event = await inject()
  t.regex(event.instruction, /^jmp/)
  t.is(event.rip, event.registers.rip)
})

for (const [policy, contextInvalid, words] of [
  ['run', true, /with invalid context/],
  ['internal-error', false, /with valid context/],
  ['internal-error', true, /with invalid context/],
  ['disable', true, /with invalid context/],
] as const) {
  drill(`A drill stops the machine: ${policy}, context ${contextInvalid ? 'invalid' : 'valid'}`, async t => {
    await using machine = await spinning({ notifyVmexit: policy })
    const arrived = once(machine, 'notify') as Promise<[NotifyEvent]>
    await machine.injectNotify({ vcpu: 0, contextInvalid })
    const exit = await machine.wait()
    const [event] = await arrived
    t.like(event, { contextInvalid, resumed: false, injected: true })
    t.is(exit.reason, 'internal-error')
    t.is(machine.state, 'internal-error')
    t.regex(exit.detail ?? '', words)
    t.regex(exit.report ?? '', /RIP=/)
  })
}

drill('a drill needs a running machine and a known vCPU', async t => {
  await using machine = await spinning('kvm')
  for (const vcpu of [-1, 2, 0.5, NaN])
    await t.throwsAsync(() => machine.injectNotify({ vcpu }), { code: 'ERR_ARGUMENT' })
  await machine.stop()
  await t.throwsAsync(() => machine.injectNotify(), { code: 'ERR_MACHINE_STATE' })
})

drill('A budget counts drills, too', async t => {
  await using machine = await spinning({ notifyBudget: '2/60' })
  for (let i = 0; i < 3; i++) {
    await Promise.all([once(machine, 'notify'), machine.injectNotify()])
  }
  const exit = await machine.wait()
  t.is(exit.reason, 'internal-error')
  t.regex(exit.detail ?? '', /notify-budget/)
})
