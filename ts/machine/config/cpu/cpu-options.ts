/** What the guest's CPU is. */
export interface CpuOptions {
  /**
   * `host` (or `max`) is what KVM offers of the host's CPU. A model of QEMU's is a set of features of which the guest gets those that the host has.
   *
   * @default 'host'
   */
  readonly model?: string
  /**
   * Features by QEMU's names that are to be there or not, beyond the model: `{ avx2: false, 'kvm-pv-ipi': true }`. What needs a feature
   * that is not there is not there either.
   *
   * @default none
   */
  readonly features?: Readonly<Record<string, boolean>>
  /**
   * Warn of features that were asked for and that the host does not offer.
   *
   * @default true
   */
  readonly check?: boolean
  /**
   * Fail for them.
   *
   * @default false
   */
  readonly enforce?: boolean
  /**
   * Tell the guest that this is KVM.
   *
   * @default true
   */
  readonly kvm?: boolean
  /**
   * The performance monitoring unit.
   *
   * @default true for the host's CPU, false for other models
   */
  readonly pmu?: boolean
  /**
   * Leave out an invariant time-stamp counter.
   *
   * @default false
   */
  readonly migratable?: boolean
  /**
   * The time-stamp counter's frequency in Hz. On hosts without TSC scaling only their own, within 250 ppm.
   *
   * @default the host's
   */
  readonly tscFrequency?: number
}

/** How vCPUs are arranged. What is left out is filled in as QEMU does: cores first, then sockets, then threads. */
export interface TopologyOptions {
  /** Packages, 1 to 255. */
  readonly sockets?: number
  /** Dies of a package, 1 to 255. */
  readonly dies?: number
  /** Cores of a die, 1 to 255. */
  readonly cores?: number
  /** Threads of a core, 1 to 255. */
  readonly threads?: number
}

/** What an MSR is read as: 64 bits, or a #GP. */
export type MsrValue = number | bigint | 'fault'

/** Answers `rdmsr`. The vCPU waits for a promise, the others go on. */
export type MsrRead = (index: number, vcpu: number) => MsrValue | Promise<MsrValue>

/** Takes `wrmsr`; `'fault'` is a #GP. The vCPU waits for a promise, the others go on. */
export type MsrWrite = (index: number, value: bigint, vcpu: number) => void | 'fault' | Promise<void | 'fault'>

/** Answers for accesses to MSRs: fixed ones, or functions. */
export interface MsrRule {
  /** The first MSR, 0 to 2^32 - 1, but none of the x2APIC's (0x800 to 0x8ff). */
  readonly index: number
  /**
   * How many MSRs, 1 to 12288.
   *
   * @default 1
   */
  readonly count?: number
  /**
   * What `rdmsr` gives: a value of 64 bits, `fault` for a #GP, `allow` to leave it to the kernel, or what a function says, which is called
   * on the machine's thread with the MSR and the vCPU. One that throws ends the machine.
   *
   * @default 'allow'
   */
  readonly read?: MsrValue | 'allow' | MsrRead
  /**
   * What `wrmsr` does: nothing with `ignore`, a #GP with `fault`, `allow` to leave it to the kernel, or a call of a function with the MSR,
   * the value and the vCPU.
   *
   * @default 'allow'
   */
  readonly write?: 'ignore' | 'fault' | 'allow' | MsrWrite
}
