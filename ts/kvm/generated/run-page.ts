// Written from the kernel's headers by crates/kvm-objects/src/layout. Do not edit.

import { gpa, nested, struct, u16, u32, u64, u64s, u8, u8s } from '../struct.js'

/** The kernel's `kvm_run.hw`. */
export const KvmRunHw = struct('kvm_run.hw', 8, {
  hardwareExitReason: u64(0),
})
/** A view of a `kvm_run.hw`. */
export type KvmRunHw = InstanceType<typeof KvmRunHw>

/** The kernel's `kvm_run.fail_entry`. */
export const KvmRunFailEntry = struct('kvm_run.fail_entry', 16, {
  hardwareEntryFailureReason: u64(0),
  cpu: u32(8),
})
/** A view of a `kvm_run.fail_entry`. */
export type KvmRunFailEntry = InstanceType<typeof KvmRunFailEntry>

/** The kernel's `kvm_run.ex`. */
export const KvmRunEx = struct('kvm_run.ex', 8, {
  exception: u32(0),
  errorCode: u32(4),
})
/** A view of a `kvm_run.ex`. */
export type KvmRunEx = InstanceType<typeof KvmRunEx>

/** The kernel's `kvm_run.io`. */
export const KvmRunIo = struct('kvm_run.io', 16, {
  direction: u8(0),
  size: u8(1),
  port: u16(2),
  count: u32(4),
  dataOffset: gpa(8),
})
/** A view of a `kvm_run.io`. */
export type KvmRunIo = InstanceType<typeof KvmRunIo>

/** The kernel's `kvm_debug_exit_arch`. */
export const KvmDebugExitArch = struct('kvm_debug_exit_arch', 32, {
  exception: u32(0),
  pc: u64(8),
  dr6: u64(16),
  dr7: u64(24),
})
/** A view of a `kvm_debug_exit_arch`. */
export type KvmDebugExitArch = InstanceType<typeof KvmDebugExitArch>

/** The kernel's `kvm_run.debug`. */
export const KvmRunDebug = struct('kvm_run.debug', 32, {
  arch: nested(0, KvmDebugExitArch),
})
/** A view of a `kvm_run.debug`. */
export type KvmRunDebug = InstanceType<typeof KvmRunDebug>

/** The kernel's `kvm_run.mmio`. */
export const KvmRunMmio = struct('kvm_run.mmio', 24, {
  physAddr: gpa(0),
  data: u8s(8, 8),
  len: u32(16),
  isWrite: u8(20),
})
/** A view of a `kvm_run.mmio`. */
export type KvmRunMmio = InstanceType<typeof KvmRunMmio>

/** The kernel's `kvm_run.hypercall`. */
export const KvmRunHypercall = struct('kvm_run.hypercall', 72, {
  nr: u64(0),
  args: u64s(8, 6),
  ret: u64(56),
  flags: u64(64),
})
/** A view of a `kvm_run.hypercall`. */
export type KvmRunHypercall = InstanceType<typeof KvmRunHypercall>

/** The kernel's `kvm_run.tpr_access`. */
export const KvmRunTprAccess = struct('kvm_run.tpr_access', 16, {
  rip: u64(0),
  isWrite: u32(8),
})
/** A view of a `kvm_run.tpr_access`. */
export type KvmRunTprAccess = InstanceType<typeof KvmRunTprAccess>

/** The kernel's `kvm_run.internal`. */
export const KvmRunInternal = struct('kvm_run.internal', 136, {
  suberror: u32(0),
  ndata: u32(4),
  data: u64s(8, 16),
})
/** A view of a `kvm_run.internal`. */
export type KvmRunInternal = InstanceType<typeof KvmRunInternal>

/** The kernel's `kvm_run.emulation_failure`. */
export const KvmRunEmulationFailure = struct('kvm_run.emulation_failure', 32, {
  suberror: u32(0),
  ndata: u32(4),
  flags: u64(8),
  insnSize: u8(16),
  insnBytes: u8s(17, 15),
})
/** A view of a `kvm_run.emulation_failure`. */
export type KvmRunEmulationFailure = InstanceType<typeof KvmRunEmulationFailure>

/** The kernel's `kvm_run.system_event`. */
export const KvmRunSystemEvent = struct('kvm_run.system_event', 136, {
  type: u32(0),
  ndata: u32(4),
  data: u64s(8, 16),
})
/** A view of a `kvm_run.system_event`. */
export type KvmRunSystemEvent = InstanceType<typeof KvmRunSystemEvent>

/** The kernel's `kvm_run.eoi`. */
export const KvmRunEoi = struct('kvm_run.eoi', 1, {
  vector: u8(0),
})
/** A view of a `kvm_run.eoi`. */
export type KvmRunEoi = InstanceType<typeof KvmRunEoi>

/** The kernel's `kvm_run.msr`. */
export const KvmRunMsr = struct('kvm_run.msr', 24, {
  error: u8(0),
  reason: u32(8),
  index: u32(12),
  data: u64(16),
})
/** A view of a `kvm_run.msr`. */
export type KvmRunMsr = InstanceType<typeof KvmRunMsr>

/** The kernel's `kvm_run.notify`. */
export const KvmRunNotify = struct('kvm_run.notify', 4, {
  flags: u32(0),
})
/** A view of a `kvm_run.notify`. */
export type KvmRunNotify = InstanceType<typeof KvmRunNotify>

/** The kernel's `kvm_run.memory_fault`. */
export const KvmRunMemoryFault = struct('kvm_run.memory_fault', 24, {
  flags: u64(0),
  gpa: gpa(8),
  size: gpa(16),
})
/** A view of a `kvm_run.memory_fault`. */
export type KvmRunMemoryFault = InstanceType<typeof KvmRunMemoryFault>

/** The kernel's `kvm_run`. */
export const KvmRun = struct('kvm_run', 2352, {
  requestInterruptWindow: u8(0),
  immediateExit: u8(1),
  exitReason: u32(8),
  readyForInterruptInjection: u8(12),
  ifFlag: u8(13),
  flags: u16(14),
  cr8: u64(16),
  apicBase: u64(24),
  hw: nested(32, KvmRunHw),
  failEntry: nested(32, KvmRunFailEntry),
  ex: nested(32, KvmRunEx),
  io: nested(32, KvmRunIo),
  debug: nested(32, KvmRunDebug),
  mmio: nested(32, KvmRunMmio),
  hypercall: nested(32, KvmRunHypercall),
  tprAccess: nested(32, KvmRunTprAccess),
  internal: nested(32, KvmRunInternal),
  emulationFailure: nested(32, KvmRunEmulationFailure),
  systemEvent: nested(32, KvmRunSystemEvent),
  eoi: nested(32, KvmRunEoi),
  msr: nested(32, KvmRunMsr),
  notify: nested(32, KvmRunNotify),
  memoryFault: nested(32, KvmRunMemoryFault),
  kvmValidRegs: u64(288),
  kvmDirtyRegs: u64(296),
})
/** A view of a `kvm_run`. */
export type KvmRun = InstanceType<typeof KvmRun>
