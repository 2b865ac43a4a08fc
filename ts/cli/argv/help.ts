import { escapeKeysHelp } from '../process/escape-keys.js'
import { row } from '../parameters/columns.js'
import { parameterRows } from '../parameters/parameters.js'
import { accelParameters } from '../options/accelerator.js'
import type { RunOption } from '../draft/run-option.js'

/** Examples of `kvm-accel run`, for help and the man page. */
export const runExamples: readonly { readonly purpose: string; readonly command: string }[] = [
  {
    purpose: 'Boot a Linux kernel with its console on this terminal:',
    command: 'kvm-accel run -m 256M -kernel vmlinux -initrd initrd.cpio -append console=ttyS0 -nographic -no-reboot',
  },
  {
    purpose:
      'Stop the machine when the guest keeps a CPU without an event window, and refuse hosts that cannot detect that:',
    command: 'kvm-accel run -accel kvm,notify-vmexit=internal-error,notify-required=on -kernel vmlinux -serial stdio',
  },
  {
    purpose: 'Run a test that ends with a status:',
    command: 'kvm-accel run -kernel test.elf -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4',
  },
]

/** The exit statuses of `kvm-accel run`, for help and the man page. */
export const exitStatuses: readonly (readonly [status: string, when: string])[] = [
  ['0', 'The guest shut down, panicked, or reset under -no-reboot; or a signal or Ctrl-A x ended the machine.'],
  ['(V << 1) | 1', 'The guest wrote V to isa-debug-exit.'],
  ['1', 'The command line, an image or the host is wrong.'],
  ['70', 'The machine stopped in internal-error.'],
]

/** Returns the text that `kvm-accel run --help` prints. */
export function runHelp(options: readonly RunOption[]): string {
  return `Usage: kvm-accel run [OPTION…]
       kvm-accel-system-x86_64 [OPTION…]

Boots a guest on /dev/kvm. Options are QEMU's, with one dash or two.

${runExamples.map(({ purpose, command }) => `${purpose}\n  ${command}\n`).join('\n')}
Options:
${options.map(option => row(optionForm(option), option.about)).join('\n')}

Properties of -accel kvm:
${parameterRows(accelParameters)}

Keys on a terminal. All other keys go to the guest:
${escapeKeysHelp.replaceAll(/^/gm, '  ')}

Exit status:
${exitStatuses.map(([status, when]) => row(status, when)).join('\n')}`
}

/** Returns an option's names with its argument. */
export function optionForm({ name, aliases = [], argument }: RunOption): string {
  const names = [name, ...aliases].join(', ')
  return argument === undefined ? names : `${names} ${argument}`
}
