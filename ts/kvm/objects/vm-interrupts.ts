import type { EventFd } from './event-fd.js'
import {
  KVM_IOEVENTFD_FLAG_DATAMATCH,
  KVM_IOEVENTFD_FLAG_DEASSIGN,
  KVM_IOEVENTFD_FLAG_PIO,
  KVM_IRQFD_FLAG_DEASSIGN,
  KVM_IRQFD_FLAG_RESAMPLE,
} from '../generated/constants.js'
import {
  KvmIoeventfd,
  KvmIrqchip,
  KvmIrqfd,
  KvmIrqLevel,
  KvmIrqRoutingEntry,
  KvmPitConfig,
  KvmPitState2,
  KvmReinjectControl,
  type KvmCoalescedMmioZone,
  type KvmMsi,
} from '../generated/vm-structs.js'
import type { vmRequests } from '../generated/requests.js'
import { KvmObject } from './kvm-object.js'
import { listOf } from '../structures/lists.js'

/** Options of {@linkcode Vm.irqfd}. */
export interface IrqfdOptions {
  /** Removes the connection. @default false */
  readonly deassign?: boolean
  /** Counts the guest's end-of-interrupt commands, which lower a level-triggered line. */
  readonly resample?: EventFd
}

/** Options of {@linkcode Vm.ioeventfd}. */
export interface IoeventfdOptions {
  /** Port or guest-physical address. */
  readonly addr: number
  /** Bytes of the write: 1, 2, 4, 8, or 0 for any. */
  readonly len: number
  /** `addr` is a port. @default false */
  readonly pio?: boolean
  /** Only writes of this value count. @default any */
  readonly datamatch?: bigint
  /** Removes the connection. The other options must be unchanged. @default false */
  readonly deassign?: boolean
}

/** The interrupts and events of a VM. */
export abstract class VmInterrupts extends KvmObject<typeof vmRequests> {
  /**
   * `KVM_CREATE_IRQCHIP`: PICs, IOAPIC and local APICs in the kernel. Before the first vCPU, and
   * after the memory slots.
   */
  createIrqchip(): void {
    this.withValue('KVM_CREATE_IRQCHIP')
  }

  /** `KVM_GET_IRQCHIP`. @param chipId - `KVM_IRQCHIP_PIC_MASTER`, `…_PIC_SLAVE` or `…_IOAPIC`. */
  getIrqchip(chipId: number): KvmIrqchip {
    return this.filled('KVM_GET_IRQCHIP', Object.assign(new KvmIrqchip(), { chipId }))
  }

  /** `KVM_SET_IRQCHIP`, of the chip `chip.chipId`. */
  setIrqchip(chip: KvmIrqchip): void {
    this.withBytes('KVM_SET_IRQCHIP', chip.bytes)
  }

  /** `KVM_IRQ_LINE`: sets the level of an interrupt line. */
  irqLine(irq: number, level: 0 | 1): void {
    this.withBytes('KVM_IRQ_LINE', Object.assign(new KvmIrqLevel(), { irq, level }).bytes)
  }

  /**
   * `KVM_IRQ_LINE_STATUS`: the same.
   * @returns above 0: delivered; 0: merged with a pending interrupt; below 0: masked.
   */
  irqLineStatus(irq: number, level: 0 | 1): number {
    const line = Object.assign(new KvmIrqLevel(), { irq, level })
    this.withBytes('KVM_IRQ_LINE_STATUS', line.bytes)
    return line.irq | 0
  }

  /** `KVM_SET_GSI_ROUTING`: replaces the whole table. */
  setGsiRouting(entries: readonly KvmIrqRoutingEntry[]): void {
    this.withBytes('KVM_SET_GSI_ROUTING', listOf(8, KvmIrqRoutingEntry, entries))
  }

  /**
   * `KVM_SIGNAL_MSI`.
   * @returns above 0 when the message was delivered, 0 when the guest blocked it.
   */
  signalMsi(msi: KvmMsi): number {
    return this.withBytes('KVM_SIGNAL_MSI', msi.bytes)
  }

  /** `KVM_IRQFD`: each write to `event` interrupts at `gsi`. */
  irqfd(event: EventFd, gsi: number, { deassign = false, resample }: IrqfdOptions = {}): void {
    const irqfd = new KvmIrqfd()
    irqfd.fd = event.fd
    irqfd.gsi = gsi
    irqfd.flags = (deassign ? KVM_IRQFD_FLAG_DEASSIGN : 0) | (resample ? KVM_IRQFD_FLAG_RESAMPLE : 0)
    if (resample) irqfd.resamplefd = resample.fd
    this.withBytes('KVM_IRQFD', irqfd.bytes)
  }

  /** `KVM_IOEVENTFD`: `event` counts the guest's writes to an address, which no longer exit. */
  ioeventfd(event: EventFd, { addr, len, pio = false, datamatch, deassign = false }: IoeventfdOptions): void {
    const ioeventfd = new KvmIoeventfd()
    ioeventfd.fd = event.fd
    ioeventfd.addr = addr
    ioeventfd.len = len
    ioeventfd.datamatch = datamatch ?? 0n
    ioeventfd.flags =
      (pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
      (datamatch === undefined ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH) |
      (deassign ? KVM_IOEVENTFD_FLAG_DEASSIGN : 0)
    this.withBytes('KVM_IOEVENTFD', ioeventfd.bytes)
  }

  /** `KVM_REGISTER_COALESCED_MMIO`: writes there wait in the run page's ring until another exit. */
  registerCoalescedMmio(zone: KvmCoalescedMmioZone): void {
    this.withBytes('KVM_REGISTER_COALESCED_MMIO', zone.bytes)
  }

  /** `KVM_UNREGISTER_COALESCED_MMIO`. */
  unregisterCoalescedMmio(zone: KvmCoalescedMmioZone): void {
    this.withBytes('KVM_UNREGISTER_COALESCED_MMIO', zone.bytes)
  }

  /**
   * `KVM_CREATE_PIT2`: the timer of a PC in the kernel; needs the irqchip.
   * @param flags - `KVM_PIT_SPEAKER_DUMMY` or 0.
   */
  createPit2(flags = 0): void {
    this.withBytes('KVM_CREATE_PIT2', Object.assign(new KvmPitConfig(), { flags }).bytes)
  }

  /** `KVM_GET_PIT2`. */
  getPit2(): KvmPitState2 {
    return this.filled('KVM_GET_PIT2', new KvmPitState2())
  }

  /** `KVM_SET_PIT2`. */
  setPit2(state: KvmPitState2): void {
    this.withBytes('KVM_SET_PIT2', state.bytes)
  }

  /** `KVM_REINJECT_CONTROL`: whether the PIT reinjects ticks that the guest missed. */
  reinjectControl(reinject: boolean): void {
    this.withBytes(
      'KVM_REINJECT_CONTROL',
      Object.assign(new KvmReinjectControl(), { pitReinject: reinject ? 1 : 0 }).bytes,
    )
  }
}
