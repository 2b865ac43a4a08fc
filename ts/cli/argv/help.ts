import { escapeKeysHelp } from '../process/escape-keys.js'
import { accelProperties } from '../../properties/schema.js'
import type { RunOption } from '../draft/run-option.js'

const COLUMN = 30
const WIDTH = 100

/** Returns the text that `kvm-accel run -help` prints. */
export function runHelp(options: readonly RunOption[]): string {
  return `Usage: kvm-accel run [OPTION…]
       kvm-accel-system-x86_64 [OPTION…]

Boots a guest on /dev/kvm. Options are QEMU's, with one dash or two.

Boot a Linux kernel with its console on this terminal:
  kvm-accel run -m 256M -kernel vmlinux -initrd initrd.cpio -append console=ttyS0 -nographic -no-reboot

Stop the machine when the guest keeps a CPU without an event window. Fail on hosts that cannot detect this:
  kvm-accel run -accel kvm,notify-vmexit=internal-error,notify-required=on -kernel vmlinux -serial stdio

Run a test that ends with a status:
  kvm-accel run -kernel test.elf -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4

Options:
${options.map(optionRow).join('\n')}

Properties of -accel kvm:
${accelProperties.map(({ name, takes, about, defaultText }) => row(`${name}=${takes}`, `${about} Default ${defaultText}.`)).join('\n')}

Keys on a terminal. All other keys go to the guest:
${escapeKeysHelp.replaceAll(/^/gm, '  ')}

Exit status: 0 if the guest shut down, panicked, reset under -no-reboot, or was ended by a signal; (V << 1) | 1 from
isa-debug-exit; 1 for an error in the configuration or on the host; 70 if the machine stopped in internal-error.`
}

function optionRow({ name, aliases = [], argument, about }: RunOption): string {
  const names = [name, ...aliases].join(', ')
  return row(argument === undefined ? names : `${names} ${argument}`, about)
}

/** Formats two columns, and wraps the right one. */
function row(left: string, right: string): string {
  const indent = ' '.repeat(COLUMN)
  const lines = wrap(right, WIDTH - COLUMN).join(`\n${indent}`)
  return left.length < COLUMN - 2 ? `  ${left.padEnd(COLUMN - 2)}${lines}` : `  ${left}\n${indent}${lines}`
}

function wrap(text: string, width: number): string[] {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1] ?? ''
    if (line === '') lines[lines.length - 1] = word
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines
}
