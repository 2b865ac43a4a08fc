import type { BindingKvmVm } from '../../native/binding.cjs'
import { Device } from './device.js'
import { enabling } from '../structures/enable-cap.js'
import { KVM_CAP_NESTED_STATE, KVM_CAP_XSAVE2 } from '../generated/constants.js'
import { vmRequests } from '../generated/requests.js'
import { KvmClockData } from '../generated/vm-structs.js'
import { Vcpu } from './vcpu.js'
import { VmInterrupts } from './vm-interrupts.js'

/** A memory slot, for {@linkcode Vm.setUserMemoryRegion}. */
export interface MemoryRegion {
  /** Number of the slot. */
  readonly slot: number
  /** The guest physical address; a multiple of 4096. */
  readonly guestPhysAddr: number
  /** Memory of {@linkcode allocateMemory}, or whole pages of it; absent to delete the slot. */
  readonly memory?: ArrayBuffer | Uint8Array
  /** `KVM_MEM_LOG_DIRTY_PAGES`, `KVM_MEM_READONLY`. @default 0 */
  readonly flags?: number
}

/** MSRs of one range, for {@linkcode Vm.setMsrFilter}. */
export interface MsrFilterRange {
  /** `KVM_MSR_FILTER_READ`, `KVM_MSR_FILTER_WRITE`, or both. */
  readonly flags: number
  /** The first MSR. */
  readonly base: number
  /** The number of MSRs. */
  readonly count: number
  /** A bit for each MSR, from the lowest bit of the first word. A set bit allows the access. */
  readonly bitmap: BigUint64Array
}

/**
 * A virtual machine, created by {@linkcode Kvm.createVm}. Errors are those of {@linkcode Kvm}.
 *
 * The kernel requires this order: capabilities, memory slots, irqchip and PIT, vCPUs.
 */
export class Vm extends VmInterrupts {
  readonly #native: BindingKvmVm
  readonly #memory = new Map<number, Uint8Array>()

  /** @internal */
  constructor(native: BindingKvmVm) {
    super(native, vmRequests)
    this.#native = native
  }

  /** The memory of each slot, the argument of {@linkcode Vm.setUserMemoryRegion}. */
  get memory(): ReadonlyMap<number, Uint8Array> {
    return this.#memory
  }

  /** `KVM_CHECK_EXTENSION`, for this VM. */
  checkExtension(capability: number): number {
    return this.withValue('KVM_CHECK_EXTENSION', capability)
  }

  /** `KVM_ENABLE_CAP`, with up to four arguments. Before the first vCPU. */
  enableCap(capability: number, ...args: readonly (number | bigint)[]): void {
    this.withBytes('KVM_ENABLE_CAP', enabling(capability, args).bytes)
  }

  /**
   * `KVM_SET_USER_MEMORY_REGION`: adds, changes or deletes a slot of the guest's RAM. The slot
   * keeps its memory mapped while a vCPU of this VM can run, even after the buffer was
   * garbage-collected.
   *
   * @throws {@linkcode KvmIoctlError} `EFAULT` when `memory` is not from
   * {@linkcode allocateMemory}: other buffers may move.
   */
  setUserMemoryRegion({ slot, guestPhysAddr, memory = new Uint8Array(), flags = 0 }: MemoryRegion): void {
    const bytes = memory instanceof ArrayBuffer ? new Uint8Array(memory) : memory
    const answer = this.#native.setUserMemoryRegion(slot, flags, guestPhysAddr, bytes)
    this.checked('KVM_SET_USER_MEMORY_REGION', answer, 'Give it memory of allocateMemory(), or whole pages of that.')
    if (bytes.byteLength > 0) this.#memory.set(slot, bytes)
    else this.#memory.delete(slot)
  }

  /**
   * `KVM_GET_DIRTY_LOG`: a bit for each page of the slot, set when the guest wrote it since the
   * last call.
   */
  getDirtyLog(slot: number): BigUint64Array {
    return this.made('KVM_GET_DIRTY_LOG', this.#native.getDirtyLog(slot))
  }

  /**
   * `KVM_CLEAR_DIRTY_LOG`, after `enableCap(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, …)`.
   *
   * @param firstPage - a multiple of 64.
   * @param numPages - a multiple of 64, unless they reach the slot's end.
   * @param bitmap - a bit for each page from `firstPage` on; a set bit logs the page again.
   */
  clearDirtyLog(slot: number, firstPage: number, numPages: number, bitmap: BigUint64Array): void {
    this.checked('KVM_CLEAR_DIRTY_LOG', this.#native.clearDirtyLog(slot, firstPage, numPages, bitmap))
  }

  /**
   * `KVM_CREATE_VCPU`: creates a vCPU that this thread runs.
   * @param id - the number of the vCPU and of its APIC.
   */
  createVcpu(id: number): Vcpu {
    const sizes = { xsave: this.checkExtension(KVM_CAP_XSAVE2), nested: this.checkExtension(KVM_CAP_NESTED_STATE) }
    return new Vcpu(this.made('KVM_CREATE_VCPU', this.#native.createVcpu(id)), sizes)
  }

  /** `KVM_CREATE_DEVICE`. @param type - `KVM_DEV_TYPE_…`. */
  createDevice(type: number): Device {
    return new Device(this.made('KVM_CREATE_DEVICE', this.#native.createDevice(type)))
  }

  /**
   * `KVM_CREATE_DEVICE` with `KVM_CREATE_DEVICE_TEST`: throws the errors of
   * {@linkcode Vm.createDevice}, and creates nothing.
   */
  testDevice(type: number): void {
    this.checked('KVM_CREATE_DEVICE', this.#native.testDevice(type))
  }

  /** `KVM_SET_TSS_ADDR`: three pages below 4 GiB that Intel hosts need, outside of every slot. */
  setTssAddr(address: number): void {
    this.withValue('KVM_SET_TSS_ADDR', address)
  }

  /**
   * `KVM_SET_IDENTITY_MAP_ADDR`: a page below 4 GiB that Intel hosts need, outside of every slot.
   */
  setIdentityMapAddr(address: number): void {
    this.withBytes('KVM_SET_IDENTITY_MAP_ADDR', new Uint8Array(new BigUint64Array([BigInt(address)]).buffer))
  }

  /** `KVM_SET_NR_MMU_PAGES`. */
  setNrMmuPages(pages: number): void {
    this.withValue('KVM_SET_NR_MMU_PAGES', pages)
  }

  /** `KVM_SET_BOOT_CPU_ID`: the vCPU that starts. Before the first vCPU. */
  setBootCpuId(id: number): void {
    this.withValue('KVM_SET_BOOT_CPU_ID', id)
  }

  /** `KVM_GET_CLOCK`: kvmclock, in nanoseconds. */
  getClock(): KvmClockData {
    return this.filled('KVM_GET_CLOCK', new KvmClockData())
  }

  /** `KVM_SET_CLOCK`. The kernel refuses the flags that only `getClock()` returns. */
  setClock(clock: KvmClockData): void {
    this.withBytes('KVM_SET_CLOCK', clock.bytes)
  }

  /**
   * `KVM_X86_SET_MSR_FILTER`: the MSRs that the guest may access. Accesses to other MSRs exit,
   * after `enableCap(KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER)`.
   *
   * @param flags - `KVM_MSR_FILTER_DEFAULT_ALLOW` or `KVM_MSR_FILTER_DEFAULT_DENY`, for MSRs
   * outside of `ranges`.
   * @param ranges - at most 16.
   */
  setMsrFilter(flags: number, ranges: readonly MsrFilterRange[] = []): void {
    this.checked('KVM_X86_SET_MSR_FILTER', this.#native.setMsrFilter(flags, [...ranges]))
  }

  /**
   * `KVM_GET_STATS_FD`: a file with the VM's statistics, for `fs.readSync()`. The caller closes it.
   */
  getStatsFd(): number {
    return this.withValue('KVM_GET_STATS_FD')
  }
}
