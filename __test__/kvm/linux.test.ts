import os from 'node:os'
import { Machine, type MachineOptions } from 'kvm-accel'
import { append, guestFile } from '../helpers/linux-guest.js'
import { cli } from '../helpers/paths.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, linux)

const initrd = process.env['KVM_ACCEL_TEST_INITRD'] ?? ''

type Irqchip = 'on' | 'split' | 'off'

const words = (irqchip: Irqchip, ...more: readonly string[]) =>
  [append, ...more, ...(irqchip === 'off' ? ['noapic nolapic'] : [])].join(' ')

/** The number of vCPUs that the kernel recommends. */
const processors = os.cpus().length

const tooMany = (vcpus: number) =>
  `kvm-accel: warning: ${vcpus} vCPUs exceed the ${processors} vCPUs that this host's kernel recommends for a machine\n`

const where = (irqchip: Irqchip, cpus: number) =>
  `with kernel-irqchip=${irqchip} on ${cpus} vCPU${cpus === 1 ? '' : 's'}`

/** Runs Linux by the command line. */
for (const [image, irqchip, cpus] of [
  ['vmlinux-tiny', 'on', 2],
  ['vmlinux-tiny', 'split', 2],
  ['vmlinux-tiny', 'off', 1],
  ['bzImage-tiny', 'on', 1],
] as const) {
  test(`Linux reaches user space from ${image} ${where(irqchip, cpus)} and ends with status 0 when it reboots`, async t => {
    t.timeout(600_000)
    const line = words(irqchip, 'doreboot')
    const machine = ['-M', 'microvm', '-accel', `kvm,kernel-irqchip=${irqchip}`, '-m', '64M', '-smp', String(cpus)]
    const guest = ['-kernel', guestFile(image), '-initrd', initrd, '-append', line]
    const rest = ['-serial', 'stdio', '-display', 'none', '-no-reboot']
    const { status, stdout, stderr } = await run(process.execPath, [cli, 'run', ...machine, ...guest, ...rest], {
      limit: 600,
    })
    t.is(status, 0, stderr)
    t.is(stderr, cpus > processors ? tooMany(cpus) : '')
    t.regex(stdout, /^INIT: hello from userspace/m)
    t.true(stdout.includes(`INIT: cpus=${cpus}`), stdout)
    t.true(stdout.includes(`INIT: cmdline=${line}`), stdout)
    t.regex(stdout, /^INIT: reboot/m)
  })
}

/** Runs a machine of `options`. Returns its output until it ends or prints `until`. */
const boot = async (options: Partial<MachineOptions>, until?: string) => {
  await using machine = await Machine.create({ kernel: '', initrd, memory: '64M', serial: 'stream', ...options })
  let resets = 0
  machine.on('reset', () => resets++)
  await machine.start()
  let text = ''
  for await (const chunk of machine.serial) {
    text += String(chunk)
    if (until !== undefined && text.split(until).length > 2) await machine.stop()
  }
  return { text, resets, exit: await machine.wait() }
}

for (const [irqchip, cpus] of [
  ['on', 4],
  ['split', 1],
  ['off', 1],
] as const) {
  test(`Linux’s 64-bit protocol boots a vmlinux ${where(irqchip, cpus)}`, async t => {
    t.timeout(600_000)
    const accel = { kernelIrqchip: irqchip }
    const kernel = { kernel: guestFile('vmlinux-tiny'), kernelFormat: 'linux' } as const
    const { text, exit } = await boot({ ...kernel, accel, cpus, append: words(irqchip, 'doreboot'), noReboot: true })
    t.true(text.includes(`INIT: cpus=${cpus}`), text)
    t.is(exit.reason, 'guest-reset')
  })
}

test('Linux powers off by ACPI on two vCPUs, and the machine ends with a shutdown', async t => {
  t.timeout(600_000)
  const { text, exit } = await boot({ kernel: guestFile('vmlinux-net'), cpus: 2, append: words('on') })
  t.true(text.includes('INIT: cpus=2'), text)
  t.regex(text, /^INIT: poweroff/m)
  t.deepEqual(exit, { reason: 'guest-shutdown' })
})

test('Linux reboots by ACPI’s reset register, and finds unchanged devices and tables', async t => {
  t.timeout(600_000)
  const kernel = { kernel: guestFile('vmlinux-net'), kernelFormat: 'linux' } as const
  // Without `quiet`, so that the kernel prints what it finds.
  const line = words('on', 'doreboot').replace('reboot=t', 'reboot=a').replace('quiet', '')
  const { text, resets, exit } = await boot({ ...kernel, append: line }, 'ACPI: 1 ACPI AML tables successfully')
  t.is(resets, 1)
  t.is(exit.reason, 'host-quit')
  for (const found of [
    /ACPI: RSDP 0x00000000000E0000/g,
    /ACPI: PM-Timer IO Port: 0x608/g,
    /INT_SRC_OVR \(bus 0 bus_irq 9 global_irq 9 high level\)/g,
  ]) {
    t.is(text.match(found)?.length, 2, `${found}: ${text}`)
  }
  t.regex(text, /00:0\d: ttyS0 at I\/O 0x3f8 \(irq = 4/)
  t.notRegex(text, /ACPI (BIOS )?(Error|Warning)/i)
})
