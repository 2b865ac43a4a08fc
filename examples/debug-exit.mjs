// Gets a status from a test guest: the guest writes 21 to isa-debug-exit, which is status 43, as under QEMU.
import { Machine, guestImage } from 'kvm-accel'

const machine = await Machine.create({
  kernel: guestImage('debug-exit'),
  append: 'value=21',
  memory: '16M',
  debugExit: { iobase: 0xf4, iosize: 4 },
})
await machine.start()
const { reason, status } = await machine.wait()
console.log(reason, status)
