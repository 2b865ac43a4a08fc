// Runs a guest that is not trusted: with limits on its time, its memory, its output and its use of the CPU.
import { guestImage, run } from 'kvm-accel'

const { reason, output, counters } = await run({
  kernel: guestImage('spin'), // or the path of a kernel
  memory: '16M',
  accel: { notifyVmexit: 'internal-error', notifyWindow: 128 },
  noReboot: true,
  timeout: 500, // ms
  maxOutput: 64 << 10, // bytes
})
console.log(`${reason}, ${output.length} bytes of output, ${Object.keys(counters.exits).length} kinds of exits`)
