// Ends a guest that runs forever, by an AbortSignal with a time limit.
import { Machine, guestImage } from 'kvm-accel'

const machine = await Machine.create({
  kernel: guestImage('spin'),
  memory: '16M',
  signal: AbortSignal.timeout(200),
})
await machine.start()
const exit = await machine.wait()
console.log(machine.state, '-', exit.reason)
