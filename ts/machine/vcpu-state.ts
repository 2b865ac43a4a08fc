import type { NotifyRegisters } from './notify-event.js'

/** The general registers of a vCPU, rip and rflags. */
export type GeneralRegisters = NotifyRegisters

/** A segment register with its hidden part. */
export interface SegmentRegister {
  /** The visible selector, 16 bits. */
  readonly selector: number
  /** Linear address of its first byte. */
  readonly base: bigint
  /** In bytes, 32 bits. */
  readonly limit: number
  /** Type (bits 3:0), S (4), DPL (6:5), P (7), AVL (12), L (13), D/B (14), G (15). A segment that is not present is unusable. */
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
  /** The four page-directory pointers of PAE paging, where the kernel has them apart from memory. */
  readonly pdptrs: readonly bigint[] | undefined
}

/** An exception on its way to the guest. */
export interface PendingException {
  /** 0 to 31, and not 2. */
  readonly vector: number
  /** Its delivery was cut short and is repeated; otherwise it has not begun. */
  readonly injected: boolean
  /** The error code, for vectors that have one. */
  readonly errorCode?: number | undefined
  /** What becomes DR6 (#DB) or CR2 (#PF) at delivery. */
  readonly payload?: bigint | undefined
}

/** What is about to be delivered to a vCPU. */
export interface VcpuEvents {
  readonly exception: PendingException | undefined
  /** An interrupt whose delivery was cut short; `soft` when `int n` made it. */
  readonly interrupt: { readonly vector: number; readonly soft: boolean } | undefined
  /** Bit 0: after `mov ss`; bit 1: after `sti`. */
  readonly interruptShadow: number
  /** Non-maskable interrupts: one whose delivery was cut short, how many wait, and whether they are masked until `iret`. */
  readonly nmi: { readonly injected: boolean; readonly pending: number; readonly masked: boolean }
  /** Where a SIPI that has arrived starts this vCPU, in pages of 4 KiB. */
  readonly sipiVector: number
  /** System management mode; all false on a kernel without it. */
  readonly smi: {
    readonly smm: boolean
    readonly pending: boolean
    readonly smmInsideNmi: boolean
    readonly latchedInit: boolean
  }
  /** A triple fault waits: the vCPU's next entry is a guest reset. */
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

/** Whether a vCPU runs, halts or waits: KVM_MP_STATE_*; a number is one that has no meaning on x86. */
export type MpState = 'runnable' | 'uninitialized' | 'init-received' | 'halted' | 'sipi-received' | number

/** The state of a guest that is a hypervisor itself. Only the kernel reads the data. */
export interface NestedState {
  readonly format: 'vmx' | 'svm' | number
  /** Bit 0: in a nested guest; 1: its entry is pending; 8: global interrupt flag (SVM). */
  readonly flags: number
  readonly data: Uint8Array
}

/** Everything that the kernel keeps about one vCPU. A part that is undefined does not exist on this kernel or machine. */
export interface VcpuState {
  readonly general: GeneralRegisters
  readonly segments: Readonly<Record<'es' | 'cs' | 'ss' | 'ds' | 'fs' | 'gs' | 'ldt' | 'tr', SegmentRegister>>
  readonly tables: Readonly<Record<'gdt' | 'idt', DescriptorTable>>
  readonly control: ControlRegisters
  /** XCR0: which parts of the XSAVE area are in use. */
  readonly xcr0: bigint | undefined
  /** The XSAVE area in the processor's standard format: x87 at 0, XMM0 at 160, header at 512. */
  readonly xsave: Uint8Array
  /** The MSRs that the kernel lists and lets be read, by number. */
  readonly msrs: ReadonlyMap<number, bigint>
  readonly events: VcpuEvents
  readonly debug: DebugRegisters
  readonly mpState: MpState
  /** The registers of a local APIC in the kernel, 1024 bytes. */
  readonly lapic: Uint8Array | undefined
  readonly nested: NestedState | undefined
  /** The guest's TSC frequency in kHz. */
  readonly tscKhz: number | undefined
}

/**
 * What {@linkcode Vcpu.setState} changes; everything that is not named stays.
 *
 * Only what a running guest's own instructions change is written: `mpState`, `lapic`, `nested` and `tscKhz` are not, nor the MSRs
 * of clocks, counters and set-up. docs/reference/vcpu-state.md lists them.
 */
export interface VcpuStateChange {
  readonly general?: Partial<GeneralRegisters>
  readonly segments?: { readonly [K in keyof VcpuState['segments']]?: Partial<SegmentRegister> }
  readonly tables?: { readonly [K in keyof VcpuState['tables']]?: Partial<DescriptorTable> }
  readonly control?: Partial<ControlRegisters>
  readonly xcr0?: bigint | undefined
  readonly xsave?: Uint8Array
  readonly msrs?: ReadonlyMap<number, bigint>
  /** `undefined` takes an exception or an interrupt away. */
  readonly events?: Partial<VcpuEvents>
  readonly debug?: Partial<DebugRegisters>
}
