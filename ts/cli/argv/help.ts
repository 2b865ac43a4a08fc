import { escapeKeysHelp } from '../process/escape-keys.js'
import { row } from '../parameters/columns.js'
import { parameterRows } from '../parameters/parameters.js'
import { accelParameters } from '../options/accelerator.js'
import type { RunOption } from '../draft/run-option.js'

/** Returns the text that `kvm-accel run -help` prints. */
export function runHelp(options: readonly RunOption[]): string {
  return `Usage: kvm-accel run [OPTION…]
       kvm-accel-system-x86_64 [OPTION…]

Boots a guest on /dev/kvm. Options are QEMU's, with one dash or two.

Boot a Linux kernel with its console on this terminal:
  kvm-accel run -m 256M -kernel vmlinux -initrd initrd.cpio -append console=ttyS0 -nographic -no-reboot

Stop the machine when the guest keeps a CPU without an event window, and refuse hosts that cannot tell:
  kvm-accel run -accel kvm,notify-vmexit=internal-error,notify-required=on -kernel vmlinux -serial stdio

Run a test that ends with a status:
  kvm-accel run -kernel test.elf -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4

Options:
${options.map(optionRow).join('\n')}

Properties of -accel kvm:
${parameterRows(accelParameters)}

Keys on a terminal, all others being the guest's:
${escapeKeysHelp.replaceAll(/^/gm, '  ')}

Exit status: 0 the guest shut down, panicked, or reset under -no-reboot, or was ended; (V << 1) | 1 from isa-debug-exit;
1 the configuration or the host is not right; 70 the machine stopped in internal-error.`
}

function optionRow({ name, aliases = [], argument, about }: RunOption): string {
  const names = [name, ...aliases].join(', ')
  return row(argument === undefined ? names : `${names} ${argument}`, about)
}
