import { cli } from '../helpers/paths.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, linux)

/** Keeps the boot of the test kernel short; `reboot=t` is a triple fault. */
const append =
  'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check rodata=off noreplace-smp norandmaps percpu_alloc=page quiet doreboot'

const boot = (irqchip: string, cpus: string, append: string) => {
  const kernel = [
    '-kernel',
    process.env['KVM_ACCEL_TEST_KERNEL'] ?? '',
    '-initrd',
    process.env['KVM_ACCEL_TEST_INITRD'] ?? '',
  ]
  const machine = [
    '-M',
    'microvm',
    '-accel',
    `kvm,kernel-irqchip=${irqchip}`,
    '-m',
    '64M',
    '-smp',
    cpus,
    ...kernel,
    '-append',
    append,
  ]
  return run(process.execPath, [cli, 'run', ...machine, '-serial', 'stdio', '-display', 'none', '-no-reboot'], {
    limit: 300,
  })
}

for (const [irqchip, cpus] of [
  ['on', '1'],
  ['on', '2'],
  ['split', '1'],
  ['split', '2'],
  ['off', '1'],
] as const) {
  const where = `with kernel-irqchip=${irqchip} on ${cpus} vCPU${cpus === '1' ? '' : 's'}`
  test(`Linux reaches user space by PVH ${where} and ends with status 0 when it reboots`, async t => {
    t.timeout(300_000)
    const line = irqchip === 'off' ? `${append} noapic nolapic` : append
    const { status, stdout, stderr } = await boot(irqchip, cpus, line)
    t.is(status, 0, stderr)
    t.is(stderr, '')
    t.regex(stdout, /^INIT: hello from userspace/m)
    t.true(stdout.includes(`INIT: cpus=${cpus}`), stdout)
    t.true(stdout.includes(`INIT: cmdline=${line}`), stdout)
    t.regex(stdout, /^INIT: reboot/m)
  })
}
