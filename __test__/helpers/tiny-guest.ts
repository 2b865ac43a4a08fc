import { Kvm, KvmRun, allocateMemory, type Vcpu, type Vm } from 'kvm-accel/kvm'

/** A VM with 64 KiB of RAM and one vCPU that runs `code` at 0x1000 in real mode. */
export interface TinyGuest {
  readonly kvm: Kvm
  readonly vm: Vm
  readonly vcpu: Vcpu
  readonly run: KvmRun
  readonly ram: Uint8Array
}

export const ENTRY = 0x1000

/** `jmp $` */
export const SPIN = [0xeb, 0xfe]

/**
 * Creates the VM and its vCPU. `prepare` is called between the creation of the memory slot and that
 * of the vCPU.
 */
export const tinyGuest = (code: readonly number[], prepare?: (vm: Vm) => void): TinyGuest => {
  const kvm = new Kvm()
  const vm = kvm.createVm()
  const ram = new Uint8Array(allocateMemory(0x10000))
  ram.set(code, ENTRY)
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })
  prepare?.(vm)
  const vcpu = vm.createVcpu(0)
  restart(vcpu)
  return { kvm, vm, vcpu, run: new KvmRun(vcpu.runPage), ram }
}

/** Sets a vCPU back to the entry point. */
export const restart = (vcpu: Vcpu): void => {
  const sregs = vcpu.getSregs()
  Object.assign(sregs.cs, { base: 0n, selector: 0 })
  vcpu.setSregs(sregs)
  vcpu.setRegs(Object.assign(vcpu.getRegs(), { rip: BigInt(ENTRY), rflags: 2n }))
}
