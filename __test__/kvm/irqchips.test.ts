// Runs one guest with its interrupt controllers in three places. The output is the same, also under QEMU.

import { AccelPropertyError, Machine, guestImage, type KernelIrqchip } from 'kvm-accel'
import { guestFile } from '../helpers/guest-file.js'
import { kvm, qemu, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm)
const beside = requires(kvm, qemu)

const modes = ['on', 'split', 'off'] as const satisfies readonly KernelIrqchip[]

const consoleOf = async (kernelIrqchip: KernelIrqchip, append: string): Promise<string> => {
  await using machine = await Machine.create({
    accel: { kernelIrqchip },
    kernel: guestImage('irqchips'),
    memory: '16M',
    append,
    serial: 'stream',
    noReboot: true,
  })
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) text += String(chunk)
  return text
}

test('a guest takes the same interrupts in all three modes', async t => {
  t.timeout(120_000)
  const [on = '', ...others] = await Promise.all(modes.map(mode => consoleOf(mode, 'ticks=15')))
  t.regex(on, /timer through the PIC: 15 interrupts\n.*serial port through the PIC: 15 interrupts\n.*done\n$/)
  for (const other of others) t.is(other, on)
  t.is(await consoleOf('split', 'ioapic=1'), await consoleOf('on', 'ioapic=1'))
})

test('halts are exits only without a local APIC', async t => {
  t.timeout(120_000)
  for (const kernelIrqchip of modes) {
    await using machine = await Machine.create({
      accel: { kernelIrqchip },
      kernel: guestImage('irqchips'),
      memory: '16M',
      noReboot: true,
    })
    await machine.start()
    await machine.wait()
    const { halt = 0 } = machine.counters().exits
    t.is(halt > 0, kernelIrqchip === 'off', `${kernelIrqchip}: ${halt}`)
  }
})

test('a machine of one halted vCPU pauses, resumes, resets and ends in every mode', async t => {
  t.timeout(120_000)
  for (const kernelIrqchip of modes) {
    await using machine = await Machine.create({
      accel: { kernelIrqchip },
      kernel: guestImage('irqchips'),
      memory: '16M',
      append: 'ticks=1000000000',
    })
    await machine.start()
    for (let turn = 0; turn < 5; turn++) {
      await machine.pause()
      await machine.resume()
    }
    await machine.reset()
    t.is(machine.state, 'running')
  }
})

test('without local APICs a second vCPU is refused with the reason', async t => {
  const machine = Machine.create({ accel: 'kvm,kernel-irqchip=off', kernel: guestImage('smp'), cpus: 2 })
  const error = await t.throwsAsync(machine, { instanceOf: AccelPropertyError, message: /more than one vCPU/ })
  t.is(error?.property, 'kernel-irqchip')
})

beside('the guest writes the same text under QEMU in all three modes', async t => {
  t.timeout(300_000)
  for (const mode of modes) {
    const append = mode === 'off' ? 'ticks=5' : 'ticks=5 ioapic=1'
    const machine = ['-M', `pc,kernel-irqchip=${mode}`, '-accel', 'kvm', '-m', '16M']
    const quiet = ['-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot']
    const args = [...machine, ...quiet, '-kernel', guestFile('irqchips'), '-append', append]
    const { status, stdout, stderr } = await run('qemu-system-x86_64', args, { limit: 120 })
    t.is(status, 0, stderr)
    t.is(stdout, await consoleOf(mode, append), mode)
  }
})
