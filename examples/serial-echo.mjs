// Talks to a guest: bytes written to `machine.serial` arrive at its COM1, and the guest sends them back.
import { Machine, guestImage } from 'kvm-accel'

const machine = await Machine.create({
  kernel: guestImage('serial-echo'),
  memory: '16M',
  serial: 'stream',
  noReboot: true,
})
await machine.start()
machine.serial.write('ping pong q')

machine.serial.setEncoding('utf8')
for await (const text of machine.serial) process.stdout.write(text)
console.log((await machine.wait()).reason)
