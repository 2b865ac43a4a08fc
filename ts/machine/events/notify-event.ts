/** The general registers of a vCPU. */
export interface NotifyRegisters {
  readonly rax: bigint
  readonly rbx: bigint
  readonly rcx: bigint
  readonly rdx: bigint
  readonly rsi: bigint
  readonly rdi: bigint
  readonly rbp: bigint
  readonly rsp: bigint
  readonly r8: bigint
  readonly r9: bigint
  readonly r10: bigint
  readonly r11: bigint
  readonly r12: bigint
  readonly r13: bigint
  readonly r14: bigint
  readonly r15: bigint
  readonly rip: bigint
  readonly rflags: bigint
}

/**
 * A notify VM exit: the guest kept the CPU without an event window for longer than the notify
 * window.
 */
export interface NotifyEvent {
  /** Index of the vCPU, from 0. */
  readonly vcpu: number
  /** The instruction pointer at the exit. */
  readonly rip: bigint
  /** The instruction at `rip`, disassembled; empty when it cannot be read. */
  readonly instruction: string
  /** The general registers at the exit. Unreliable when the context is invalid. */
  readonly registers: NotifyRegisters
  /** The CPU reported that the vCPU's context is corrupt. The machine then always stops. */
  readonly contextInvalid: boolean
  /** The vCPU was resumed; otherwise the machine stopped in run state `internal-error`. */
  readonly resumed: boolean
  /** Notify exits of this vCPU so far, this one included. */
  readonly total: number
  /** True for a drill by {@link Machine.injectNotify}, false for a notify exit of the guest. */
  readonly injected: boolean
  /**
   * Events lost directly before this one, because 1024 already waited for the event loop: notify
   * events, warnings, resets by the guest.
   */
  readonly dropped: number
}

/** What {@link Machine.injectNotify} injects. */
export interface NotifyDrill {
  /**
   * Index of the vCPU, from 0.
   *
   * @default 0
   */
  readonly vcpu?: number | undefined
  /**
   * Injects the exit with a corrupt context.
   *
   * @default false
   */
  readonly contextInvalid?: boolean | undefined
}
