// Written from the kernel's headers by crates/kvm-objects/src/layout. Do not edit.

import { gpa, nested, nesteds, struct, u16, u32, u64, u64s, u8, u8s } from '../struct.js'

/** The kernel's `kvm_regs`. */
export const KvmRegs = struct('kvm_regs', 144, {
  rax: u64(0),
  rbx: u64(8),
  rcx: u64(16),
  rdx: u64(24),
  rsi: u64(32),
  rdi: u64(40),
  rsp: u64(48),
  rbp: u64(56),
  r8: u64(64),
  r9: u64(72),
  r10: u64(80),
  r11: u64(88),
  r12: u64(96),
  r13: u64(104),
  r14: u64(112),
  r15: u64(120),
  rip: u64(128),
  rflags: u64(136),
})
/** A view of a `kvm_regs`. */
export type KvmRegs = InstanceType<typeof KvmRegs>

/** The kernel's `kvm_segment`. */
export const KvmSegment = struct('kvm_segment', 24, {
  base: u64(0),
  limit: u32(8),
  selector: u16(12),
  type: u8(14),
  present: u8(15),
  dpl: u8(16),
  db: u8(17),
  s: u8(18),
  l: u8(19),
  g: u8(20),
  avl: u8(21),
  unusable: u8(22),
})
/** A view of a `kvm_segment`. */
export type KvmSegment = InstanceType<typeof KvmSegment>

/** The kernel's `kvm_dtable`. */
export const KvmDtable = struct('kvm_dtable', 16, {
  base: u64(0),
  limit: u16(8),
})
/** A view of a `kvm_dtable`. */
export type KvmDtable = InstanceType<typeof KvmDtable>

/** The kernel's `kvm_sregs`. */
export const KvmSregs = struct('kvm_sregs', 312, {
  cs: nested(0, KvmSegment),
  ds: nested(24, KvmSegment),
  es: nested(48, KvmSegment),
  fs: nested(72, KvmSegment),
  gs: nested(96, KvmSegment),
  ss: nested(120, KvmSegment),
  tr: nested(144, KvmSegment),
  ldt: nested(168, KvmSegment),
  gdt: nested(192, KvmDtable),
  idt: nested(208, KvmDtable),
  cr0: u64(224),
  cr2: u64(232),
  cr3: u64(240),
  cr4: u64(248),
  cr8: u64(256),
  efer: u64(264),
  apicBase: u64(272),
  interruptBitmap: u64s(280, 4),
})
/** A view of a `kvm_sregs`. */
export type KvmSregs = InstanceType<typeof KvmSregs>

/** The kernel's `kvm_sregs2`. */
export const KvmSregs2 = struct('kvm_sregs2', 320, {
  cs: nested(0, KvmSegment),
  ds: nested(24, KvmSegment),
  es: nested(48, KvmSegment),
  fs: nested(72, KvmSegment),
  gs: nested(96, KvmSegment),
  ss: nested(120, KvmSegment),
  tr: nested(144, KvmSegment),
  ldt: nested(168, KvmSegment),
  gdt: nested(192, KvmDtable),
  idt: nested(208, KvmDtable),
  cr0: u64(224),
  cr2: u64(232),
  cr3: u64(240),
  cr4: u64(248),
  cr8: u64(256),
  efer: u64(264),
  apicBase: u64(272),
  flags: u64(280),
  pdptrs: u64s(288, 4),
})
/** A view of a `kvm_sregs2`. */
export type KvmSregs2 = InstanceType<typeof KvmSregs2>

/** The kernel's `kvm_fpu`. */
export const KvmFpu = struct('kvm_fpu', 416, {
  fpr: u8s(0, 128),
  fcw: u16(128),
  fsw: u16(130),
  ftwx: u8(132),
  lastOpcode: u16(134),
  lastIp: u64(136),
  lastDp: u64(144),
  xmm: u8s(152, 256),
  mxcsr: u32(408),
})
/** A view of a `kvm_fpu`. */
export type KvmFpu = InstanceType<typeof KvmFpu>

/** The kernel's `kvm_xcr`. */
export const KvmXcr = struct('kvm_xcr', 16, {
  xcr: u32(0),
  value: u64(8),
})
/** A view of a `kvm_xcr`. */
export type KvmXcr = InstanceType<typeof KvmXcr>

/** The kernel's `kvm_xcrs`. */
export const KvmXcrs = struct('kvm_xcrs', 392, {
  nrXcrs: u32(0),
  flags: u32(4),
  xcrs: nesteds(8, 16, KvmXcr),
})
/** A view of a `kvm_xcrs`. */
export type KvmXcrs = InstanceType<typeof KvmXcrs>

/** The kernel's `kvm_debugregs`. */
export const KvmDebugregs = struct('kvm_debugregs', 128, {
  db: u64s(0, 4),
  dr6: u64(32),
  dr7: u64(40),
  flags: u64(48),
})
/** A view of a `kvm_debugregs`. */
export type KvmDebugregs = InstanceType<typeof KvmDebugregs>

/** The kernel's `kvm_vcpu_events.exception`. */
export const KvmVcpuEventsException = struct('kvm_vcpu_events.exception', 8, {
  injected: u8(0),
  nr: u8(1),
  hasErrorCode: u8(2),
  pending: u8(3),
  errorCode: u32(4),
})
/** A view of a `kvm_vcpu_events.exception`. */
export type KvmVcpuEventsException = InstanceType<typeof KvmVcpuEventsException>

/** The kernel's `kvm_vcpu_events.interrupt`. */
export const KvmVcpuEventsInterrupt = struct('kvm_vcpu_events.interrupt', 4, {
  injected: u8(0),
  nr: u8(1),
  soft: u8(2),
  shadow: u8(3),
})
/** A view of a `kvm_vcpu_events.interrupt`. */
export type KvmVcpuEventsInterrupt = InstanceType<typeof KvmVcpuEventsInterrupt>

/** The kernel's `kvm_vcpu_events.nmi`. */
export const KvmVcpuEventsNmi = struct('kvm_vcpu_events.nmi', 4, {
  injected: u8(0),
  pending: u8(1),
  masked: u8(2),
})
/** A view of a `kvm_vcpu_events.nmi`. */
export type KvmVcpuEventsNmi = InstanceType<typeof KvmVcpuEventsNmi>

/** The kernel's `kvm_vcpu_events.smi`. */
export const KvmVcpuEventsSmi = struct('kvm_vcpu_events.smi', 4, {
  smm: u8(0),
  pending: u8(1),
  smmInsideNmi: u8(2),
  latchedInit: u8(3),
})
/** A view of a `kvm_vcpu_events.smi`. */
export type KvmVcpuEventsSmi = InstanceType<typeof KvmVcpuEventsSmi>

/** The kernel's `kvm_vcpu_events.triple_fault`. */
export const KvmVcpuEventsTripleFault = struct('kvm_vcpu_events.triple_fault', 1, {
  pending: u8(0),
})
/** A view of a `kvm_vcpu_events.triple_fault`. */
export type KvmVcpuEventsTripleFault = InstanceType<typeof KvmVcpuEventsTripleFault>

/** The kernel's `kvm_vcpu_events`. */
export const KvmVcpuEvents = struct('kvm_vcpu_events', 64, {
  exception: nested(0, KvmVcpuEventsException),
  interrupt: nested(8, KvmVcpuEventsInterrupt),
  nmi: nested(12, KvmVcpuEventsNmi),
  sipiVector: u32(16),
  flags: u32(20),
  smi: nested(24, KvmVcpuEventsSmi),
  tripleFault: nested(28, KvmVcpuEventsTripleFault),
  exceptionHasPayload: u8(55),
  exceptionPayload: u64(56),
})
/** A view of a `kvm_vcpu_events`. */
export type KvmVcpuEvents = InstanceType<typeof KvmVcpuEvents>

/** The kernel's `kvm_mp_state`. */
export const KvmMpState = struct('kvm_mp_state', 4, {
  mpState: u32(0),
})
/** A view of a `kvm_mp_state`. */
export type KvmMpState = InstanceType<typeof KvmMpState>

/** The kernel's `kvm_lapic_state`. */
export const KvmLapicState = struct('kvm_lapic_state', 1024, {
  regs: u8s(0, 1024),
})
/** A view of a `kvm_lapic_state`. */
export type KvmLapicState = InstanceType<typeof KvmLapicState>

/** The kernel's `kvm_guest_debug_arch`. */
export const KvmGuestDebugArch = struct('kvm_guest_debug_arch', 64, {
  debugreg: u64s(0, 8),
})
/** A view of a `kvm_guest_debug_arch`. */
export type KvmGuestDebugArch = InstanceType<typeof KvmGuestDebugArch>

/** The kernel's `kvm_guest_debug`. */
export const KvmGuestDebug = struct('kvm_guest_debug', 72, {
  control: u32(0),
  arch: nested(8, KvmGuestDebugArch),
})
/** A view of a `kvm_guest_debug`. */
export type KvmGuestDebug = InstanceType<typeof KvmGuestDebug>

/** The kernel's `kvm_translation`. */
export const KvmTranslation = struct('kvm_translation', 24, {
  linearAddress: u64(0),
  physicalAddress: gpa(8),
  valid: u8(16),
  writeable: u8(17),
  usermode: u8(18),
})
/** A view of a `kvm_translation`. */
export type KvmTranslation = InstanceType<typeof KvmTranslation>

/** The kernel's `kvm_cpuid_entry2`. */
export const KvmCpuidEntry2 = struct('kvm_cpuid_entry2', 40, {
  function: u32(0),
  index: u32(4),
  flags: u32(8),
  eax: u32(12),
  ebx: u32(16),
  ecx: u32(20),
  edx: u32(24),
})
/** A view of a `kvm_cpuid_entry2`. */
export type KvmCpuidEntry2 = InstanceType<typeof KvmCpuidEntry2>

/** The kernel's `kvm_msr_entry`. */
export const KvmMsrEntry = struct('kvm_msr_entry', 16, {
  index: u32(0),
  data: u64(8),
})
/** A view of a `kvm_msr_entry`. */
export type KvmMsrEntry = InstanceType<typeof KvmMsrEntry>
