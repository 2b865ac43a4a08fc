// Runs a command while two VMs exist, and exits with its status. For the second host: the first VM and the last one make Linux patch its
// scheduler (a static key: preempt notifiers), as do the first vCPU with a local APIC that is off and the first without one. QEMU's emulator,
// with a thread for each processor, now and then goes on with what it had translated of the patch's first step, a breakpoint; both
// processors are then in that trap for good. With these VMs there nothing is patched while the command runs.
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Kvm } from 'kvm-accel/kvm'

// From here on what goes wrong is no matter of the host's start.
if (process.env.OUT) writeFileSync(join(process.env.OUT, 'started'), '')

const kvm = new Kvm()
const [withApic, without] = [kvm.createVm(), kvm.createVm()]
withApic.createIrqchip()
const kept = [withApic.createVcpu(0), without.createVcpu(0)]

const [command, ...args] = process.argv.slice(2)
spawn(command, args, { stdio: 'inherit' }).on('exit', (status, signal) => {
  if (signal) console.error(`${command} ended by ${signal}`)
  for (const one of [...kept, withApic, without, kvm]) one.close()
  process.exitCode = status ?? 1
})
