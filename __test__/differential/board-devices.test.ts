// Compares the board's devices with those of QEMU's `-M pc`, with the command line of kvm-unit-tests.

import { guestFile } from '../helpers/guest-file.js'
import { cli } from '../helpers/paths.js'
import { kvm, qemu, requires } from '../helpers/requires.js'
import { start } from '../helpers/spawn.js'

const test = requires(kvm, qemu)

const argv = (guest: string): string[] => [
  ...['-nodefaults', '-device', 'pc-testdev', '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x4', '-vnc', 'none'],
  ...['-serial', 'stdio', '-device', 'pci-testdev', '-machine', 'accel=kvm', '-M', 'pc', '-m', '16M', '-smp', '2'],
  ...[
    '-rtc',
    'base=2031-05-06T07:08:09,clock=vm',
    '-no-reboot',
    '-kernel',
    guestFile(guest, 'multiboot'),
    '-fw_cfg',
    'name=opt/test,string=a file of the user',
  ],
]

/** Removes the seconds, because firmware delays the guest under QEMU. */
const sameDate = (text: string): string => text.replace(/^(date \d{10})\d{4}$/m, '$1')

for (const guest of ['test-devices', 'fw-cfg', 'rtc']) {
  test(`${guest} prints the same text under QEMU`, async t => {
    const theirs = await start('qemu-system-x86_64', argv(guest)).finished
    const ours = await start(process.execPath, [cli, 'run', ...argv(guest)]).finished
    t.is(sameDate(ours.stdout), sameDate(theirs.stdout), theirs.stderr + ours.stderr)
    t.regex(ours.stdout, /\n(done|set 20000101000000)\n$/)
  })
}
