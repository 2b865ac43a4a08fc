// A process whose debug exits the interposer generates. Runs real-mode code with these breakpoints
// to its end, and prints every stop. Plain JavaScript, so that the interposer's variables apply to
// one process only.

import { Machine } from 'kvm-accel'

const { code, breakpoints } = JSON.parse(process.argv[2] ?? '')
const machine = await Machine.create({
  kernel: Uint8Array.from(code),
  kernelFormat: 'flat',
  memory: '1M',
  debugExit: { iobase: 0xf4, iosize: 4 },
})
for (const breakpoint of breakpoints) await machine.debug.insertBreakpoint(breakpoint)
const stops = []
machine.on('debug', ({ vcpu, reason, address, rip }) => {
  stops.push({ vcpu, reason, address: Number(address), rip: Number(rip) })
  void machine.debug.clear().then(() => machine.resume())
})
await machine.start()
const { reason, status, detail } = await machine.wait()
await machine.stop()
process.stdout.write(JSON.stringify({ stops, reason, status, detail }))
