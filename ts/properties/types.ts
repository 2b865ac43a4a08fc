/** The place of the interrupt controllers, see {@link AccelOptions.kernelIrqchip}. */
export type KernelIrqchip = 'on' | 'off' | 'split'

/**
 * The effect of a notify VM exit:
 * - `run`: warn once and continue, unless the guest's context is invalid;
 * - `internal-error`: stop the machine in run state `internal-error`;
 * - `disable`: leave notify VM exits disabled.
 */
export type NotifyPolicy = 'run' | 'internal-error' | 'disable'

/**
 * The limit of `notify-budget`. More than {@link NotifyBudget.exits} notify exits within
 * {@link NotifyBudget.seconds} make `run` behave as `internal-error`.
 */
export interface NotifyBudget {
  /** At least 1, below 2^32. */
  readonly exits: number
  /** At least 1, below 2^32. */
  readonly seconds: number
}

/** The properties of `-accel kvm` as a typed object. Each key is the property's name in camel case. */
export interface AccelOptions {
  /**
   * `kernel-irqchip`: the place of the interrupt controllers. `on`: PIC, IOAPIC, local APICs and
   * PIT in the kernel. `split`: only the local APICs in the kernel. `off`: no interrupt controller
   * in the kernel; PIC and PIT in the machine, no APIC, one vCPU.
   *
   * @default 'on'
   */
  readonly kernelIrqchip?: KernelIrqchip
  /**
   * `kvm-shadow-mem`: memory for shadow pages, in bytes, or a size such as `'4M'`. -1 leaves the
   * choice to the kernel, whose minimum is 262144.
   *
   * @default -1
   */
  readonly kvmShadowMem?: number | string
  /**
   * `dirty-ring-size`: entries of the dirty ring for each vCPU. 0 selects the dirty bitmap. A power
   * of two; kernels accept 256 to 65536, and 4096 or more is sensible.
   *
   * @default 0
   */
  readonly dirtyRingSize?: number
  /**
   * `notify-vmexit`: the effect of a notify VM exit.
   *
   * @default 'run'
   */
  readonly notifyVmexit?: NotifyPolicy
  /**
   * `notify-window`: how long a guest may keep the CPU without an event window before a notify VM
   * exit, in clock cycles on top of the CPU's own threshold. 0 to 4294967295.
   *
   * @default 0
   */
  readonly notifyWindow?: number
  /**
   * `notify-required` (not in QEMU): fail with `ERR_NOTIFY_UNSUPPORTED` on a host that cannot enforce the policy.
   *
   * @default false
   */
  readonly notifyRequired?: boolean
  /**
   * `notify-budget` (not in QEMU): `'N/T'`. More than N notify exits within T seconds make `run`
   * behave as `internal-error`. Both are whole numbers from 1 to 4294967295.
   *
   * @default 'unlimited'
   */
  readonly notifyBudget?: string
  /**
   * `device`: the KVM device.
   *
   * @default '/dev/kvm'
   */
  readonly device?: string
}

/** The properties of `-accel kvm` in normal form: every property is set and valid. */
export interface AccelProperties {
  /** `kernel-irqchip`. */
  readonly kernelIrqchip: KernelIrqchip
  /** `kvm-shadow-mem` in bytes; null leaves it to the kernel. */
  readonly kvmShadowMem: number | null
  /** `dirty-ring-size` in entries for each vCPU; 0 is the dirty bitmap. */
  readonly dirtyRingSize: number
  /** `notify-vmexit`. */
  readonly notifyVmexit: NotifyPolicy
  /** `notify-window` in clock cycles. */
  readonly notifyWindow: number
  /** `notify-required`. */
  readonly notifyRequired: boolean
  /** `notify-budget`; null is unlimited. */
  readonly notifyBudget: NotifyBudget | null
  /** `device`. */
  readonly device: string
  /**
   * True if the caller requested a policy other than `disable`, or a window. A host that cannot
   * enforce it then causes a warning.
   */
  readonly notifyAsked: boolean
}

/** Accelerators: QEMU's option text, a typed object, or a list of either that is tried in order. */
export type AccelInput = string | AccelOptions | readonly (string | AccelOptions)[]
