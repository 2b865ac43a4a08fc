import type { AccelProperties } from '../../properties/types.js'

/** What became of the notify properties on this host. */
export interface NotifyStatus {
  /** `notify-vmexit`. */
  readonly policy: AccelProperties['notifyVmexit']
  /** `notify-window`, in clock cycles; a threshold of the hardware's own is added to it. */
  readonly window: number
  /** The host offers KVM_CAP_X86_NOTIFY_VMEXIT (219). */
  readonly supported: boolean
  /** Notify VM exits are enabled for this machine. */
  readonly enabled: boolean
  /** Notify exits so far, over all vCPUs, drills included. */
  readonly total: number
}

/** The accelerator of a machine: its properties, and what became of them. */
export interface MachineAccel extends AccelProperties {
  readonly notify: NotifyStatus
}
