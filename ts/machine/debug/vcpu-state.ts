import type { NotifyRegisters } from '../events/notify-event.js'

/** The general registers of a vCPU, rip and rflags. */
export type GeneralRegisters = NotifyRegisters

/** A segment register with its hidden part. */
export interface SegmentRegister {
  /** The selector, 16 bits. */
  readonly selector: number
  /** Linear address of its first byte. */
  readonly base: bigint
  /** In bytes, 32 bits. */
  readonly limit: number
  /**
   * Type (bits 3:0), S (4), DPL (6:5), P (7), AVL (12), L (13), D/B (14), G (15). A segment that is
   * not present is unusable.
   */
  readonly attributes: number
}

/** A descriptor table register. */
export interface DescriptorTable {
  /** Linear address. */
  readonly base: bigint
  /** In bytes, 16 bits. */
  readonly limit: number
}

/** Control registers. */
export interface ControlRegisters {
  readonly cr0: bigint
  readonly cr2: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  /** The task priority. */
  readonly cr8: bigint
  readonly efer: bigint
  /** IA32_APIC_BASE. */
  readonly apicBase: bigint
  /**
   * The four page-directory pointers of PAE paging, if the kernel keeps them separately from
   * memory.
   */
  readonly pdptrs: readonly bigint[] | undefined
}

/** An exception that is pending for the guest. */
export interface PendingException {
  /** 0 to 31, except 2. */
  readonly vector: number
  /**
   * True if its delivery was interrupted and will be repeated; false if its delivery has not begun.
   */
  readonly injected: boolean
  /** The error code, for vectors that have one. */
  readonly errorCode?: number | undefined
  /** The value that DR6 (#DB) or CR2 (#PF) gets at delivery. */
  readonly payload?: bigint | undefined
}

/** Events that are pending for a vCPU. */
export interface VcpuEvents {
  readonly exception: PendingException | undefined
  /** An interrupt whose delivery was interrupted. `soft` is true when `int n` caused it. */
  readonly interrupt: { readonly vector: number; readonly soft: boolean } | undefined
  /** Bit 0: after `mov ss`; bit 1: after `sti`. */
  readonly interruptShadow: number
  /**
   * NMIs: whether the delivery of one was interrupted, how many are pending, and whether they are
   * masked until `iret`.
   */
  readonly nmi: { readonly injected: boolean; readonly pending: number; readonly masked: boolean }
  /** The address at which a received SIPI starts this vCPU, in pages of 4 KiB. */
  readonly sipiVector: number
  /** System management mode. All fields are false on a kernel without it. */
  readonly smi: {
    readonly smm: boolean
    readonly pending: boolean
    readonly smmInsideNmi: boolean
    readonly latchedInit: boolean
  }
  /** A triple fault is pending: the vCPU's next entry causes a guest reset. */
  readonly tripleFault: boolean
}

/** The guest's own debug registers. */
export interface DebugRegisters {
  readonly dr0: bigint
  readonly dr1: bigint
  readonly dr2: bigint
  readonly dr3: bigint
  readonly dr6: bigint
  readonly dr7: bigint
}

/**
 * Whether a vCPU runs, is halted or waits: KVM_MP_STATE_*. A number is a state that x86 does not
 * define.
 */
export type MpState = 'runnable' | 'uninitialized' | 'init-received' | 'halted' | 'sipi-received' | number

/** The state of nested virtualization. Only the kernel interprets the data. */
export interface NestedState {
  readonly format: 'vmx' | 'svm' | number
  /**
   * Bit 0: the vCPU runs a nested guest. Bit 1: the entry into it is pending. Bit 8: global
   * interrupt flag (SVM).
   */
  readonly flags: number
  readonly data: Uint8Array
}

/**
 * The whole state of one vCPU in the kernel. A part that is undefined does not exist on this kernel
 * or machine.
 */
export interface VcpuState {
  readonly general: GeneralRegisters
  readonly segments: Readonly<Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldt' | 'tr', SegmentRegister>>
  readonly tables: Readonly<Record<'gdt' | 'idt', DescriptorTable>>
  readonly control: ControlRegisters
  /** XCR0: the enabled parts of the XSAVE area. */
  readonly xcr0: bigint | undefined
  /** The XSAVE area in the processor's standard format: x87 at 0, XMM0 at 160, header at 512. */
  readonly xsave: Uint8Array
  /** The MSRs that the kernel lists and that can be read, by number. */
  readonly msrs: ReadonlyMap<number, bigint>
  readonly events: VcpuEvents
  readonly debug: DebugRegisters
  readonly mpState: MpState
  /** The registers of the in-kernel local APIC, 1024 bytes. */
  readonly lapic: Uint8Array | undefined
  readonly nested: NestedState | undefined
  /** The guest's TSC frequency in kHz. */
  readonly tscKhz: number | undefined
}

/**
 * A change for {@linkcode Vcpu.setState}. Fields that are absent stay unchanged.
 *
 * Only state that a guest's own instructions change can be written. `mpState`, `lapic`, `nested`,
 * `tscKhz` and the MSRs of clocks, counters and set-up cannot. docs/reference/vcpu-state.md lists them.
 */
export interface VcpuStateChange {
  readonly general?: Partial<GeneralRegisters>
  readonly segments?: { readonly [K in keyof VcpuState['segments']]?: Partial<SegmentRegister> }
  readonly tables?: { readonly [K in keyof VcpuState['tables']]?: Partial<DescriptorTable> }
  readonly control?: Partial<ControlRegisters>
  readonly xcr0?: bigint | undefined
  readonly xsave?: Uint8Array
  readonly msrs?: ReadonlyMap<number, bigint>
  /** `undefined` removes a pending exception or interrupt. */
  readonly events?: Partial<VcpuEvents>
  readonly debug?: Partial<DebugRegisters>
}
