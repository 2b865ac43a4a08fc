import { cpuidList, cpuidOf, roomForCpuid } from '../structures/cpuid.js'
import type { vcpuRequests } from '../generated/requests.js'
import {
  KvmDebugregs,
  KvmFpu,
  KvmLapicState,
  KvmMpState,
  KvmRegs,
  KvmSregs,
  KvmSregs2,
  KvmTranslation,
  KvmVcpuEvents,
  KvmXcrs,
  type KvmCpuidEntry2,
} from '../generated/vcpu-structs.js'
import { KvmObject } from './kvm-object.js'
import { askFor, toSet, valuesOf } from '../structures/msrs.js'

/** Bytes of `kvm_xsave` without features that the kernel enables one by one. */
const XSAVE = 4096

/** Bytes of `kvm_nested_state` without its data. */
const NESTED_HEADER = 128

/** Bytes: `KVM_CAP_XSAVE2` and `KVM_CAP_NESTED_STATE`. */
export interface StateSizes {
  readonly xsave: number
  readonly nested: number
}

/**
 * The state of a vCPU. Each `get…()` creates a new structure, or fills its argument. Each `set…()`
 * copies its argument.
 */
export abstract class VcpuState extends KvmObject<typeof vcpuRequests> {
  /** The sizes of the areas whose size depends on the host. */
  protected abstract readonly sizes: StateSizes

  /** `KVM_GET_REGS`. */
  getRegs(into: KvmRegs = new KvmRegs()): KvmRegs {
    return this.filled('KVM_GET_REGS', into)
  }

  /** `KVM_SET_REGS`. */
  setRegs(regs: KvmRegs): void {
    this.withBytes('KVM_SET_REGS', regs.bytes)
  }

  /** `KVM_GET_SREGS`. */
  getSregs(into: KvmSregs = new KvmSregs()): KvmSregs {
    return this.filled('KVM_GET_SREGS', into)
  }

  /** `KVM_SET_SREGS`. */
  setSregs(sregs: KvmSregs): void {
    this.withBytes('KVM_SET_SREGS', sregs.bytes)
  }

  /** `KVM_GET_SREGS2`. */
  getSregs2(into: KvmSregs2 = new KvmSregs2()): KvmSregs2 {
    return this.filled('KVM_GET_SREGS2', into)
  }

  /** `KVM_SET_SREGS2`. */
  setSregs2(sregs: KvmSregs2): void {
    this.withBytes('KVM_SET_SREGS2', sregs.bytes)
  }

  /** `KVM_GET_FPU`. */
  getFpu(into: KvmFpu = new KvmFpu()): KvmFpu {
    return this.filled('KVM_GET_FPU', into)
  }

  /** `KVM_SET_FPU`. */
  setFpu(fpu: KvmFpu): void {
    this.withBytes('KVM_SET_FPU', fpu.bytes)
  }

  /** `KVM_GET_XSAVE`: the area in the CPU's own layout, 4096 bytes. */
  getXsave(): Uint8Array {
    return this.filled('KVM_GET_XSAVE', { bytes: new Uint8Array(XSAVE) }).bytes
  }

  /** `KVM_GET_XSAVE2`: the whole area, with features that need more than 4096 bytes. */
  getXsave2(): Uint8Array {
    return this.filled('KVM_GET_XSAVE2', { bytes: new Uint8Array(Math.max(XSAVE, this.sizes.xsave)) }).bytes
  }

  /** `KVM_SET_XSAVE`, with the result of `getXsave()` or `getXsave2()`. */
  setXsave(area: Uint8Array): void {
    this.withBytes('KVM_SET_XSAVE', area)
  }

  /**
   * `KVM_GET_NESTED_STATE`: the state of the vCPU's own guest, if the host has nested
   * virtualization. Returns a `kvm_nested_state`, as long as its `size` field.
   */
  getNestedState(): Uint8Array {
    const state = new Uint8Array(Math.max(this.sizes.nested, NESTED_HEADER))
    const view = new DataView(state.buffer)
    view.setUint32(4, state.length, true)
    this.withBytes('KVM_GET_NESTED_STATE', state)
    return state.subarray(0, view.getUint32(4, true))
  }

  /** `KVM_SET_NESTED_STATE`. */
  setNestedState(state: Uint8Array): void {
    this.withBytes('KVM_SET_NESTED_STATE', state)
  }

  /** `KVM_GET_XCRS`. */
  getXcrs(into: KvmXcrs = new KvmXcrs()): KvmXcrs {
    return this.filled('KVM_GET_XCRS', into)
  }

  /** `KVM_SET_XCRS`. */
  setXcrs(xcrs: KvmXcrs): void {
    this.withBytes('KVM_SET_XCRS', xcrs.bytes)
  }

  /** `KVM_GET_MSRS`. The result ends before the first MSR that the kernel refuses. */
  getMsrs(indices: Iterable<number>): Map<number, bigint> {
    const list = askFor(indices)
    return valuesOf(list, this.withBytes('KVM_GET_MSRS', list))
  }

  /**
   * `KVM_SET_MSRS`, in this order.
   * @returns the number of MSRs that were set: the kernel stops at the first that it refuses.
   */
  setMsrs(values: Iterable<readonly [index: number, value: bigint]>): number {
    return this.withBytes('KVM_SET_MSRS', toSet(values))
  }

  /** `KVM_GET_CPUID2`. */
  getCpuid2(): KvmCpuidEntry2[] {
    const list = roomForCpuid()
    this.withBytes('KVM_GET_CPUID2', list)
    return cpuidOf(list)
  }

  /** `KVM_SET_CPUID2`: sets the guest's CPUID. Before the vCPU first runs. */
  setCpuid2(entries: readonly KvmCpuidEntry2[]): void {
    this.withBytes('KVM_SET_CPUID2', cpuidList(entries))
  }

  /** `KVM_GET_LAPIC`: the page of registers; needs the irqchip. */
  getLapic(into: KvmLapicState = new KvmLapicState()): KvmLapicState {
    return this.filled('KVM_GET_LAPIC', into)
  }

  /** `KVM_SET_LAPIC`. */
  setLapic(lapic: KvmLapicState): void {
    this.withBytes('KVM_SET_LAPIC', lapic.bytes)
  }

  /** `KVM_GET_MP_STATE`: `KVM_MP_STATE_…`. */
  getMpState(): number {
    return this.filled('KVM_GET_MP_STATE', new KvmMpState()).mpState
  }

  /** `KVM_SET_MP_STATE`. */
  setMpState(mpState: number): void {
    this.withBytes('KVM_SET_MP_STATE', Object.assign(new KvmMpState(), { mpState }).bytes)
  }

  /** `KVM_GET_VCPU_EVENTS`: pending exceptions, interrupts, NMIs and SMIs. */
  getVcpuEvents(into: KvmVcpuEvents = new KvmVcpuEvents()): KvmVcpuEvents {
    return this.filled('KVM_GET_VCPU_EVENTS', into)
  }

  /** `KVM_SET_VCPU_EVENTS`: sets the fields that `flags` marks as valid. */
  setVcpuEvents(events: KvmVcpuEvents): void {
    this.withBytes('KVM_SET_VCPU_EVENTS', events.bytes)
  }

  /** `KVM_GET_DEBUGREGS`. */
  getDebugregs(into: KvmDebugregs = new KvmDebugregs()): KvmDebugregs {
    return this.filled('KVM_GET_DEBUGREGS', into)
  }

  /** `KVM_SET_DEBUGREGS`. */
  setDebugregs(debugregs: KvmDebugregs): void {
    this.withBytes('KVM_SET_DEBUGREGS', debugregs.bytes)
  }

  /** `KVM_GET_TSC_KHZ`. */
  getTscKhz(): number {
    return this.withValue('KVM_GET_TSC_KHZ')
  }

  /** `KVM_SET_TSC_KHZ`. */
  setTscKhz(khz: number): void {
    this.withValue('KVM_SET_TSC_KHZ', khz)
  }

  /**
   * `KVM_TRANSLATE`: translates a linear address by the guest's page tables; `valid` is 0 if they
   * do not map it.
   */
  translate(linearAddress: bigint): KvmTranslation {
    return this.filled('KVM_TRANSLATE', Object.assign(new KvmTranslation(), { linearAddress }))
  }
}
