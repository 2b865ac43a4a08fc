import { cli } from '../helpers/paths.js'
import { kvm, linux, requires } from '../helpers/requires.js'
import { run } from '../helpers/spawn.js'

const test = requires(kvm, linux)

/** Keeps the boot of the test kernel short; `reboot=t` is a triple fault. */
const append =
  'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check rodata=off noreplace-smp norandmaps percpu_alloc=page quiet doreboot'

const boot = (cpus: string) => {
  const kernel = [
    '-kernel',
    process.env['KVM_ACCEL_TEST_KERNEL'] ?? '',
    '-initrd',
    process.env['KVM_ACCEL_TEST_INITRD'] ?? '',
  ]
  const machine = ['-M', 'microvm', '-m', '64M', '-smp', cpus, ...kernel, '-append', append]
  return run(process.execPath, [cli, 'run', ...machine, '-serial', 'stdio', '-display', 'none', '-no-reboot'], {
    limit: 300,
  })
}

for (const cpus of ['1', '2']) {
  test(`Linux reaches user space by PVH on ${cpus} vCPUs and ends with status 0 when it reboots`, async t => {
    t.timeout(300_000)
    const { status, stdout, stderr } = await boot(cpus)
    t.is(status, 0, stderr)
    t.is(stderr, '')
    t.regex(stdout, /^INIT: hello from userspace/m)
    t.true(stdout.includes(`INIT: cpus=${cpus}`), stdout)
    t.true(stdout.includes(`INIT: cmdline=${append}`), stdout)
    t.regex(stdout, /^INIT: reboot/m)
  })
}
