/** A KVM capability that `kvm-accel doctor` reports. */
export interface Capability {
  /** The number in the kernel's `linux/kvm.h`. */
  readonly number: number
  /** The kernel's name. */
  readonly name: string
  /** True if no guest runs without this capability. */
  readonly required: boolean
  /** The effect of its absence. */
  readonly absence: string
}

const NO_GUEST = 'no guest runs: the accelerator requires it'

function required(number: number, name: string): Capability {
  return { number, name: `KVM_CAP_${name}`, required: true, absence: NO_GUEST }
}

function useful(number: number, name: string, absence: string): Capability {
  return { number, name: `KVM_CAP_${name}`, required: false, absence }
}

/**
 * The required capabilities in the order in which the accelerator checks them, then the others
 * grouped by purpose.
 */
export const capabilities: readonly Capability[] = [
  required(3, 'USER_MEMORY'),
  required(21, 'DESTROY_MEMORY_REGION_WORKS'),
  required(30, 'JOIN_MEMORY_REGIONS_WORKS'),
  required(40, 'INTERNAL_ERROR_DATA'),
  required(36, 'IOEVENTFD'),
  required(122, 'IOEVENTFD_ANY_LENGTH'),
  required(4, 'SET_TSS_ADDR'),
  required(7, 'EXT_CPUID'),
  required(14, 'MP_STATE'),
  required(77, 'SIGNAL_MSI'),
  required(25, 'IRQ_ROUTING'),
  required(50, 'DEBUGREGS'),
  required(55, 'XSAVE'),
  required(41, 'VCPU_EVENTS'),
  required(51, 'X86_ROBUST_SINGLESTEP'),
  required(31, 'MCE'),
  required(39, 'ADJUST_CLOCK'),
  required(37, 'SET_IDENTITY_MAP_ADDR'),
  required(32, 'IRQFD'),
  required(136, 'IMMEDIATE_EXIT'),
  useful(
    219,
    'X86_NOTIFY_VMEXIT',
    'notify-vmexit has no effect: a guest can keep a CPU from its host. Intel CPUs from about 2023, Linux 6.0',
  ),
  useful(
    218,
    'X86_TRIPLE_FAULT_EVENT',
    'a pending triple fault of a nested guest is lost when vCPU events are written. Linux 6.0',
  ),
  useful(
    193,
    'X86_BUS_LOCK_EXIT',
    'split locks of a guest slow the host down and cannot be detected. Intel CPUs, Linux 5.12',
  ),
  useful(192, 'DIRTY_LOG_RING', 'written pages can be tracked by bitmap only. Linux 5.11'),
  useful(
    203,
    'BINARY_STATS_FD',
    "the kernel's statistics of a machine, notify_window_exits among them, cannot be read. Linux 5.14",
  ),
  useful(121, 'SPLIT_IRQCHIP', 'kernel-irqchip=split is not possible. Linux 4.5'),
  useful(33, 'PIT2', 'a guest has no programmable interval timer'),
  useful(72, 'TSC_DEADLINE_TIMER', 'a guest has no TSC-deadline timer and programs its APIC timer more often'),
  useful(
    164,
    'EXCEPTION_PAYLOAD',
    'a pending exception of a nested guest loses its payload when vCPU events are read. Linux 5.0',
  ),
  useful(16, 'SYNC_MMU', 'guest memory cannot be given back to the host while the guest runs'),
  useful(81, 'READONLY_MEM', 'read-only memory slots, as for firmware, are not possible'),
]

/** A capability with the host's answer. */
export interface CapabilityReport extends Capability {
  /** The answer of `KVM_CHECK_EXTENSION`; 0 if the capability is absent. */
  readonly value: number
}

/** Joins the table with a host's answers. A number without an answer counts as absent. */
export function reportCapabilities(answers: Readonly<Record<number, number>>): CapabilityReport[] {
  return capabilities.map(capability => ({ ...capability, value: answers[capability.number] ?? 0 }))
}
