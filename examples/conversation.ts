// Talks to a Linux guest on its console: node --import=tsx examples/conversation.ts KERNEL INITRD
// The guest's init asks for a name, greets, counts to three, and reboots.

import { Machine } from 'kvm-accel'

const [kernel = 'vmlinux', initrd = 'initrd.cpio'] = process.argv.slice(2)

await using machine = await Machine.create({
  kernel,
  initrd,
  append: 'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check quiet',
  serial: 'stream',
  noReboot: true,
})
const { serial } = machine
await machine.start()

await serial.expect('name: ', { timeout: 300_000 })
serial.write('Ada\n')
const { groups } = await serial.expect(/Hello, (\w+)\./)
console.log('The guest greets', groups[0])
for await (const line of serial.lines()) if (/^\d$/.test(line)) console.log('The guest counts', line)
console.log((await machine.wait()).reason)
