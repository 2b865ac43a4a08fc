import type { AccelProperties } from '../../properties/schema.js'

/** The state of notify VM exits on this host. */
export interface NotifyStatus {
  /** `notify-vmexit`. */
  readonly policy: AccelProperties['notifyVmexit']
  /** `notify-window`, in clock cycles. The hardware adds a threshold of its own. */
  readonly window: number
  /** The host offers KVM_CAP_X86_NOTIFY_VMEXIT (219). */
  readonly supported: boolean
  /** Notify VM exits are enabled for this machine. */
  readonly enabled: boolean
  /** Notify exits of all vCPUs so far, drills included. */
  readonly total: number
}

/** The accelerator of a machine: its properties, and the state of notify exits. */
export interface MachineAccel extends AccelProperties {
  readonly notify: NotifyStatus
}
