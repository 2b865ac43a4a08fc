// Tests a notify policy on any host: the budget allows three notify exits in a minute, and the fourth stops the machine.
import { once } from 'node:events'
import { Machine, guestImage } from 'kvm-accel'

const accel = { notifyVmexit: 'run', notifyBudget: '3/60' }
const machine = await Machine.create({ accel, kernel: guestImage('spin'), memory: '16M', serial: 'stream' })
machine.on('notify', ({ vcpu, total, instruction, resumed, injected }) => {
  console.log(`vCPU ${vcpu}, notify exit ${total} at '${instruction}':`, { injected, resumed })
})

await machine.start()
await once(machine.serial, 'data')
for (let drill = 0; drill < 4; drill++) {
  await Promise.all([once(machine, 'notify'), machine.injectNotify()])
}

const exit = await machine.wait()
console.log(machine.state, '-', exit.detail)
await machine.stop()
