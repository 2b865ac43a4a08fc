// Measures the cost of an exit to JavaScript and back on this host, for each kind of exit. Prints medians of rounds.

import { KVM_EXIT_HLT, KVM_EXIT_IO, KVM_EXIT_MMIO, Kvm, allocateMemory } from 'kvm-accel/kvm'

/** Guests that exit in an endless loop. */
const probes = [
  { name: 'port write', reason: KVM_EXIT_IO, code: [0xe6, 0x10, 0xeb, 0xfc] }, //              again: out 0x10, al; jmp again
  { name: 'port read', reason: KVM_EXIT_IO, code: [0xe4, 0x10, 0xeb, 0xfc] }, //               again: in al, 0x10; jmp again
  { name: 'memory write', reason: KVM_EXIT_MMIO, code: [0xa2, 0x00, 0x00, 0xeb, 0xfb] }, //    again: mov [0], al; jmp again
  { name: 'memory read', reason: KVM_EXIT_MMIO, code: [0xa0, 0x00, 0x00, 0xeb, 0xfb] }, //     again: mov al, [0]; jmp again
  { name: 'hlt', reason: KVM_EXIT_HLT, code: [0xf4, 0xeb, 0xfd] }, //                          again: hlt; jmp again
]

const ROUNDS = 51
const EXITS = 100

using kvm = new Kvm()
for (const { name, reason, code } of probes) {
  using vm = kvm.createVm()
  const ram = allocateMemory(0x10000)
  new Uint8Array(ram).set(code, 0x1000)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })

  using vcpu = vm.createVcpu(0)
  const sregs = vcpu.getSregs()
  Object.assign(sregs.cs, { base: 0n, selector: 0 })
  Object.assign(sregs.ds, { base: 0xd0000n, selector: 0xd000 }) // no RAM at this address
  vcpu.setSregs(sregs)
  vcpu.setRegs(Object.assign(vcpu.getRegs(), { rip: 0x1000n, rflags: 2n }))

  const times = Array.from({ length: ROUNDS }, () => {
    const start = performance.now()
    for (let exit = 0; exit < EXITS; exit++) if (vcpu.run() !== reason) throw new Error(`${name}: another exit`)
    return ((performance.now() - start) * 1000) / EXITS
  })
  const median = times.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0
  console.log(`${name.padEnd(14)}${median.toFixed(2).padStart(8)} us`)
}
