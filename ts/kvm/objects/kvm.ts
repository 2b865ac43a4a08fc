import { native, unwrap } from '../../native/native.js'
import type { BindingKvm } from '../../native/binding.cjs'
import { cpuidOf, roomForCpuid } from '../structures/cpuid.js'
import type { KvmCpuidEntry2 } from '../generated/vcpu-structs.js'
import { systemRequests } from '../generated/requests.js'
import { KvmObject } from './kvm-object.js'
import { emptyList, numbers } from '../structures/lists.js'
import { askFor, valuesOf } from '../structures/msrs.js'
import { Vm } from './vm.js'

/** The capacity of a list of MSRs, larger than the list of any kernel. */
const MOST_MSRS = 4096

/**
 * An open KVM device.
 *
 * The methods of this class and of the objects that it creates are the kernel's ioctls:
 * `KVM_GET_REGS` is `getRegs()`. A method calls its ioctl on this thread and returns when the
 * kernel does. When the kernel refuses, it throws a {@linkcode KvmIoctlError} with the name of the
 * ioctl and the error number. After `close()` it throws a {@linkcode KvmClosedError}.
 *
 * @example
 * ```ts
 * import { KVM_EXIT_HLT, Kvm, allocateMemory } from 'kvm-accel/kvm'
 *
 * using kvm = new Kvm()
 * using vm = kvm.createVm()
 * const ram = allocateMemory(0x10000)
 * new Uint8Array(ram).set([0xf4], 0x1000) // hlt
 * vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: ram })
 * using vcpu = vm.createVcpu(0)
 * const sregs = vcpu.getSregs()
 * sregs.cs.base = 0n
 * sregs.cs.selector = 0
 * vcpu.setSregs(sregs)
 * const regs = vcpu.getRegs()
 * regs.rip = 0x1000n
 * vcpu.setRegs(regs)
 * console.log(vcpu.run() === KVM_EXIT_HLT)
 * ```
 */
export class Kvm extends KvmObject<typeof systemRequests> {
  readonly #native: BindingKvm

  /**
   * Opens the device and checks its API version.
   *
   * @param device - @default '/dev/kvm'
   * @throws {@linkcode KvmUnavailableError} when the device cannot be opened, or is not a KVM
   * device; `kvm-accel doctor` reports why.
   */
  constructor(device = '/dev/kvm') {
    const kvm = unwrap(native().openKvm(device))
    super(kvm, systemRequests)
    this.#native = kvm
  }

  /**
   * Makes the current or next `run()` of a vCPU return `KVM_EXIT_INTR`. Any thread may call it: the
   * object of a vCPU belongs to the thread that created it, but its token can be posted to another
   * thread.
   *
   * @param token - {@linkcode Vcpu.token}.
   * @returns false when that vCPU is closed.
   */
  static kick(token: number): boolean {
    return native().kickVcpu(token)
  }

  /** `KVM_GET_API_VERSION`: always 12. */
  getApiVersion(): number {
    return this.withValue('KVM_GET_API_VERSION')
  }

  /**
   * `KVM_CHECK_EXTENSION`: 0 for a capability that KVM does not have. Some capabilities have a
   * number.
   */
  checkExtension(capability: number): number {
    return this.withValue('KVM_CHECK_EXTENSION', capability)
  }

  /** `KVM_CREATE_VM`, of the default type unless the kernel has others. */
  createVm(type = 0): Vm {
    return new Vm(this.made('KVM_CREATE_VM', this.#native.createVm(type)))
  }

  /** `KVM_GET_VCPU_MMAP_SIZE`: bytes of {@linkcode Vcpu.runPage}. */
  getVcpuMmapSize(): number {
    return this.withValue('KVM_GET_VCPU_MMAP_SIZE')
  }

  /**
   * `KVM_GET_SUPPORTED_CPUID`: the entries that {@linkcode Vcpu.setCpuid2} accepts on this host.
   */
  getSupportedCpuid(): KvmCpuidEntry2[] {
    const list = roomForCpuid()
    this.withBytes('KVM_GET_SUPPORTED_CPUID', list)
    return cpuidOf(list)
  }

  /** `KVM_GET_EMULATED_CPUID`: features that KVM emulates if the CPU does not have them. */
  getEmulatedCpuid(): KvmCpuidEntry2[] {
    const list = roomForCpuid()
    this.withBytes('KVM_GET_EMULATED_CPUID', list)
    return cpuidOf(list)
  }

  /** `KVM_GET_MSR_INDEX_LIST`: MSRs that make up the state of a vCPU. */
  getMsrIndexList(): number[] {
    const list = emptyList(4, 4, MOST_MSRS)
    this.withBytes('KVM_GET_MSR_INDEX_LIST', list)
    return numbers(list)
  }

  /** `KVM_GET_MSR_FEATURE_INDEX_LIST`: MSRs that describe features of the host. */
  getMsrFeatureIndexList(): number[] {
    const list = emptyList(4, 4, MOST_MSRS)
    this.withBytes('KVM_GET_MSR_FEATURE_INDEX_LIST', list)
    return numbers(list)
  }

  /**
   * `KVM_GET_MSRS` of feature MSRs. The result ends before the first MSR that the kernel refuses.
   */
  getMsrs(indices: Iterable<number>): Map<number, bigint> {
    const list = askFor(indices)
    return valuesOf(list, this.withBytes('KVM_GET_MSRS', list))
  }
}
