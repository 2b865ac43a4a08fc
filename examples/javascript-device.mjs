// Implements a device in JavaScript: a counter at port 0xe0. The guest writes to it 1000 times.

import { Machine, guestImage } from 'kvm-accel'

const machine = await Machine.create({ kernel: guestImage('pio-loop'), memory: '16M', noReboot: true })
let writes = 0
await machine.addDevice({
  name: 'counter',
  pio: [0xe0, 1],
  read: () => writes & 0xff,
  write: () => void writes++,
})
await machine.start()
await machine.wait()
console.log(`the guest wrote ${writes} times`)
