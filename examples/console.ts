// Talks to a program in a Linux guest over a named channel: node --import=tsx examples/console.ts KERNEL INITRD
// The guest's init answers each line that it reads from its first channel, /dev/vport0p1.

import { createInterface } from 'node:readline'
import { Machine } from 'kvm-accel'

const [kernel = 'vmlinux', initrd = 'initrd.cpio'] = process.argv.slice(2)

await using machine = await Machine.create({
  kernel,
  initrd,
  append: 'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check quiet',
  noReboot: true,
  consoles: [{ target: 'stream', name: 'org.example.agent' }],
})
const [agent] = machine.consoles
if (agent === undefined) throw new Error('machine.consoles is empty')

// Bytes wait until the guest opens the channel.
agent.write('What is your name?\n')
await machine.start()
for await (const answer of createInterface(agent)) {
  console.log(answer)
  break
}
