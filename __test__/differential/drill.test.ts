// Only kvm-accel has the drill. It must have the same result as a real exit. So each row compares the drill with QEMU's
// behaviour when the interposer generates the same exit.

import { Machine, guestImage, type NotifyEvent } from 'kvm-accel'
import { qemus } from '../helpers/both.js'
import { kvm, preload, qemu, requires } from '../helpers/requires.js'

const COM1 = 0x3f8

/** Returns the run state and the number of warnings after one injected exit. The guest ends on request. */
const drill = async (
  policy: 'run' | 'internal-error',
  contextInvalid: boolean,
): Promise<{ outcome: string; warnings: number; event: NotifyEvent }> => {
  await using machine = await Machine.create({
    accel: { notifyVmexit: policy },
    memory: '16M',
    kernel: guestImage('serial-echo'),
    serial: 'stream',
    noReboot: true,
  })
  let warnings = 0
  let event: NotifyEvent | undefined
  machine.on('warning', ({ code }) => {
    if (code === 'NOTIFY_EXIT') warnings++
  })
  machine.on('notify', one => {
    event = one
    // The guest continues only if the decision was to resume it.
    machine.serial.write('q')
  })
  await machine.start()
  machine.serial.once('data', () => {
    machine.serial.resume()
    void machine.injectNotify({ vcpu: 0, contextInvalid })
  })
  const exit = await machine.wait()
  if (!event) throw new Error('No notify event')
  if (exit.reason === 'internal-error' && exit.detail?.includes('notify VM exit')) warnings++
  return { outcome: exit.reason === 'internal-error' ? 'internal-error' : 'ended', warnings, event }
}

const compare = requires(kvm, preload, qemu)

for (const policy of ['run', 'internal-error'] as const) {
  for (const contextInvalid of [false, true]) {
    compare(
      `the drill has the same outcome as a notify exit under QEMU: ${policy}, context ${contextInvalid ? 'invalid' : 'valid'}`,
      async t => {
        const theirs = await qemus({
          accel: `kvm,notify-vmexit=${policy}`,
          guest: 'string-io',
          rules: `cap219;notify:port=${COM1},after=20,flags=${Number(contextInvalid)}`,
        })
        const { outcome, warnings, event } = await drill(policy, contextInvalid)
        t.deepEqual({ outcome, warnings }, { outcome: theirs.outcome, warnings: theirs.warnings }, theirs.stderr)
        t.like(event, { vcpu: 0, contextInvalid, resumed: outcome === 'ended', total: 1, injected: true })
      },
    )
  }
}
