// Written from the kernel's headers by crates/kvm-objects/src/layout. Do not edit.

import { gpa, i32, i64, nested, nesteds, struct, u16, u32, u64, u64s, u8, u8s } from '../struct.js'

/** The kernel's `kvm_enable_cap`. */
export const KvmEnableCap = struct('kvm_enable_cap', 104, {
  cap: u32(0),
  flags: u32(4),
  args: u64s(8, 4),
})
/** A view of a `kvm_enable_cap`. */
export type KvmEnableCap = InstanceType<typeof KvmEnableCap>

/** The kernel's `kvm_irq_level`. */
export const KvmIrqLevel = struct('kvm_irq_level', 8, {
  irq: u32(0),
  level: u32(4),
})
/** A view of a `kvm_irq_level`. */
export type KvmIrqLevel = InstanceType<typeof KvmIrqLevel>

/** The kernel's `kvm_pic_state`. */
export const KvmPicState = struct('kvm_pic_state', 16, {
  lastIrr: u8(0),
  irr: u8(1),
  imr: u8(2),
  isr: u8(3),
  priorityAdd: u8(4),
  irqBase: u8(5),
  readRegSelect: u8(6),
  poll: u8(7),
  specialMask: u8(8),
  initState: u8(9),
  autoEoi: u8(10),
  rotateOnAutoEoi: u8(11),
  specialFullyNestedMode: u8(12),
  init4: u8(13),
  elcr: u8(14),
  elcrMask: u8(15),
})
/** A view of a `kvm_pic_state`. */
export type KvmPicState = InstanceType<typeof KvmPicState>

/** The kernel's `kvm_ioapic_state`. */
export const KvmIoapicState = struct('kvm_ioapic_state', 216, {
  baseAddress: gpa(0),
  ioregsel: u32(8),
  id: u32(12),
  irr: u32(16),
  redirtbl: u64s(24, 24),
})
/** A view of a `kvm_ioapic_state`. */
export type KvmIoapicState = InstanceType<typeof KvmIoapicState>

/** The kernel's `kvm_irqchip`. */
export const KvmIrqchip = struct('kvm_irqchip', 520, {
  chipId: u32(0),
  pic: nested(8, KvmPicState),
  ioapic: nested(8, KvmIoapicState),
})
/** A view of a `kvm_irqchip`. */
export type KvmIrqchip = InstanceType<typeof KvmIrqchip>

/** The kernel's `kvm_pit_config`. */
export const KvmPitConfig = struct('kvm_pit_config', 64, {
  flags: u32(0),
})
/** A view of a `kvm_pit_config`. */
export type KvmPitConfig = InstanceType<typeof KvmPitConfig>

/** The kernel's `kvm_pit_channel_state`. */
export const KvmPitChannelState = struct('kvm_pit_channel_state', 24, {
  count: u32(0),
  latchedCount: u16(4),
  countLatched: u8(6),
  statusLatched: u8(7),
  status: u8(8),
  readState: u8(9),
  writeState: u8(10),
  writeLatch: u8(11),
  rwMode: u8(12),
  mode: u8(13),
  bcd: u8(14),
  gate: u8(15),
  countLoadTime: i64(16),
})
/** A view of a `kvm_pit_channel_state`. */
export type KvmPitChannelState = InstanceType<typeof KvmPitChannelState>

/** The kernel's `kvm_pit_state2`. */
export const KvmPitState2 = struct('kvm_pit_state2', 112, {
  channels: nesteds(0, 3, KvmPitChannelState),
  flags: u32(72),
})
/** A view of a `kvm_pit_state2`. */
export type KvmPitState2 = InstanceType<typeof KvmPitState2>

/** The kernel's `kvm_clock_data`. */
export const KvmClockData = struct('kvm_clock_data', 48, {
  clock: u64(0),
  flags: u32(8),
  realtime: u64(16),
  hostTsc: u64(24),
})
/** A view of a `kvm_clock_data`. */
export type KvmClockData = InstanceType<typeof KvmClockData>

/** The kernel's `kvm_irq_routing_irqchip`. */
export const KvmIrqRoutingIrqchip = struct('kvm_irq_routing_irqchip', 8, {
  irqchip: u32(0),
  pin: u32(4),
})
/** A view of a `kvm_irq_routing_irqchip`. */
export type KvmIrqRoutingIrqchip = InstanceType<typeof KvmIrqRoutingIrqchip>

/** The kernel's `kvm_irq_routing_msi`. */
export const KvmIrqRoutingMsi = struct('kvm_irq_routing_msi', 16, {
  addressLo: u32(0),
  addressHi: u32(4),
  data: u32(8),
  devid: u32(12),
})
/** A view of a `kvm_irq_routing_msi`. */
export type KvmIrqRoutingMsi = InstanceType<typeof KvmIrqRoutingMsi>

/** The kernel's `kvm_irq_routing_entry`. */
export const KvmIrqRoutingEntry = struct('kvm_irq_routing_entry', 48, {
  gsi: u32(0),
  type: u32(4),
  flags: u32(8),
  irqchip: nested(16, KvmIrqRoutingIrqchip),
  msi: nested(16, KvmIrqRoutingMsi),
})
/** A view of a `kvm_irq_routing_entry`. */
export type KvmIrqRoutingEntry = InstanceType<typeof KvmIrqRoutingEntry>

/** The kernel's `kvm_msi`. */
export const KvmMsi = struct('kvm_msi', 32, {
  addressLo: u32(0),
  addressHi: u32(4),
  data: u32(8),
  flags: u32(12),
  devid: u32(16),
})
/** A view of a `kvm_msi`. */
export type KvmMsi = InstanceType<typeof KvmMsi>

/** The kernel's `kvm_irqfd`. */
export const KvmIrqfd = struct('kvm_irqfd', 32, {
  fd: u32(0),
  gsi: u32(4),
  flags: u32(8),
  resamplefd: u32(12),
})
/** A view of a `kvm_irqfd`. */
export type KvmIrqfd = InstanceType<typeof KvmIrqfd>

/** The kernel's `kvm_ioeventfd`. */
export const KvmIoeventfd = struct('kvm_ioeventfd', 64, {
  datamatch: u64(0),
  addr: gpa(8),
  len: u32(16),
  fd: i32(20),
  flags: u32(24),
})
/** A view of a `kvm_ioeventfd`. */
export type KvmIoeventfd = InstanceType<typeof KvmIoeventfd>

/** The kernel's `kvm_coalesced_mmio_zone`. */
export const KvmCoalescedMmioZone = struct('kvm_coalesced_mmio_zone', 16, {
  addr: gpa(0),
  size: u32(8),
  pio: u32(12),
})
/** A view of a `kvm_coalesced_mmio_zone`. */
export type KvmCoalescedMmioZone = InstanceType<typeof KvmCoalescedMmioZone>

/** The kernel's `kvm_coalesced_mmio`. */
export const KvmCoalescedMmio = struct('kvm_coalesced_mmio', 24, {
  physAddr: gpa(0),
  len: u32(8),
  pio: u32(12),
  data: u8s(16, 8),
})
/** A view of a `kvm_coalesced_mmio`. */
export type KvmCoalescedMmio = InstanceType<typeof KvmCoalescedMmio>

/** The kernel's `kvm_reinject_control`. */
export const KvmReinjectControl = struct('kvm_reinject_control', 32, {
  pitReinject: u8(0),
})
/** A view of a `kvm_reinject_control`. */
export type KvmReinjectControl = InstanceType<typeof KvmReinjectControl>
