// A virtual machine in 40 lines: the guest reads numbers from one port, adds them, and writes the sum to another port.

import { KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_IO_OUT, Kvm, KvmRun, allocateMemory } from 'kvm-accel/kvm'

const guest = [
  [0x31, 0xdb], //       xor bx, bx
  [0xb9, 0x0a, 0x00], // mov cx, 10
  [0xe4, 0x10], //       again: in al, 0x10
  [0x30, 0xe4], //       xor ah, ah
  [0x01, 0xc3], //       add bx, ax
  [0xe2, 0xf8], //       loop again
  [0x89, 0xd8], //       mov ax, bx
  [0xe7, 0x11], //       out 0x11, ax
  [0xf4], //             hlt
]

using kvm = new Kvm()
using vm = kvm.createVm()
const ram = allocateMemory(0x10000)
new Uint8Array(ram).set(guest.flat(), 0x1000)
vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })

using vcpu = vm.createVcpu(0)
const sregs = vcpu.getSregs()
Object.assign(sregs.cs, { base: 0n, selector: 0 })
vcpu.setSregs(sregs)
vcpu.setRegs(Object.assign(vcpu.getRegs(), { rip: 0x1000n, rflags: 2n }))

const run = new KvmRun(vcpu.runPage)
const data = new DataView(vcpu.runPage)
let number = 0
for (let reason = vcpu.run(); reason !== KVM_EXIT_HLT; reason = vcpu.run()) {
  if (reason !== KVM_EXIT_IO) throw new Error(`exit ${reason}`)
  const { direction, port, dataOffset } = run.io
  if (direction === KVM_EXIT_IO_OUT) console.log(`port ${port}: ${data.getUint16(dataOffset, true)}`)
  else data.setUint8(dataOffset, ++number)
}
