// Takes memory back from a running Linux guest: node --import=tsx examples/balloon.ts KERNEL INITRD
// The guest needs the virtio balloon driver, and an init that does not exit.

import { on } from 'node:events'
import { Machine } from 'kvm-accel'

const [kernel = 'vmlinux', initrd = 'initrd.cpio'] = process.argv.slice(2)
const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`

await using machine = await Machine.create({
  kernel,
  initrd,
  append: 'console=ttyS0 reboot=t panic=-1 tsc=reliable no_timer_check quiet',
  memory: { size: '128M', prealloc: true },
  balloon: true,
})
const before = process.memoryUsage.rss()

// Sets the target. The guest follows when its driver has started.
machine.balloon.resize('64M')
await machine.start()
for await (const [bytes] of on(machine.balloon, 'change')) {
  if (bytes === 64 * 2 ** 20) break
}
console.log(`The guest has ${mebibytes(machine.balloon.actual)} of 128 MiB.`)
if (process.memoryUsage.rss() < before) console.log('The rest is the host’s.')
