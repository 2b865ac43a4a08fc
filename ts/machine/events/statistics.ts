/** What every statistic has. `value * base ** exponent` is in `unit`. */
interface StatisticBase {
  /** The kernel's name, such as `halt_wait_ns`. */
  readonly name: string
  /** What is counted or measured; `null` for events, pages, or whatever the name says. */
  readonly unit: 'bytes' | 'seconds' | 'cycles' | 'boolean' | null
  /** What {@link exponent} is of. */
  readonly base: 10 | 2
  /** The scale: -9 with base 10 and unit `seconds` is nanoseconds. */
  readonly exponent: number
}

/** A statistic with one value. */
export interface ScalarStatistic extends StatisticBase {
  /** Whether it only ever grows, is as it is now, or is the largest so far. */
  readonly type: 'cumulative' | 'instant' | 'peak'
  /** Exact up to 2^53, rounded above. 0 or 1 with unit `boolean`. */
  readonly value: number
}

/** How many samples were in `from <= sample < to`. */
export interface HistogramBucket {
  readonly from: number
  /** `Infinity` for the last bucket. */
  readonly to: number
  readonly count: number
}

/** A distribution. */
export interface HistogramStatistic extends StatisticBase {
  /** Buckets of equal width, or each twice as wide as the one before. */
  readonly type: 'linear-histogram' | 'log2-histogram'
  /** In ascending order. (QEMU's `query-stats` has them the other way round.) */
  readonly buckets: readonly HistogramBucket[]
}

/** What the kernel counts. */
export type Statistic = ScalarStatistic | HistogramStatistic

type VmScalar =
  | 'remote_tlb_flush'
  | 'remote_tlb_flush_requests'
  | 'mmu_shadow_zapped'
  | 'mmu_pte_write'
  | 'mmu_pde_zapped'
  | 'mmu_flooded'
  | 'mmu_recycled'
  | 'mmu_cache_miss'
  | 'mmu_unsync'
  | 'pages_4k'
  | 'pages_2m'
  | 'pages_1g'
  | 'nx_lpage_splits'
  | 'max_mmu_rmap_size'
  | 'max_mmu_page_hash_collisions'

type VcpuScalar =
  | 'halt_successful_poll'
  | 'halt_attempted_poll'
  | 'halt_poll_invalid'
  | 'halt_wakeup'
  | 'halt_poll_success_ns'
  | 'halt_poll_fail_ns'
  | 'halt_wait_ns'
  | 'blocking'
  | 'pf_taken'
  | 'pf_fixed'
  | 'pf_emulate'
  | 'pf_spurious'
  | 'pf_fast'
  | 'pf_mmio_spte_created'
  | 'pf_guest'
  | 'tlb_flush'
  | 'invlpg'
  | 'exits'
  | 'io_exits'
  | 'mmio_exits'
  | 'signal_exits'
  | 'irq_window_exits'
  | 'nmi_window_exits'
  | 'l1d_flush'
  | 'halt_exits'
  | 'request_irq_exits'
  | 'irq_exits'
  | 'host_state_reload'
  | 'fpu_reload'
  | 'insn_emulation'
  | 'insn_emulation_fail'
  | 'hypercalls'
  | 'irq_injections'
  | 'nmi_injections'
  | 'req_event'
  | 'nested_run'
  | 'directed_yield_attempted'
  | 'directed_yield_successful'
  | 'preemption_reported'
  | 'preemption_other'
  | 'guest_mode'
  | 'notify_window_exits'

type VcpuHistogram = 'halt_poll_success_hist' | 'halt_poll_fail_hist' | 'halt_wait_hist'

/**
 * Statistics by the kernel's name. Those of Linux 6.1 on x86 are in the type; each kernel has its own, so that any may be missing,
 * and a newer kernel's are there under their names.
 */
type Statistics<Scalar extends string, Histogram extends string> = { readonly [name in Scalar]?: ScalarStatistic } & {
  readonly [name in Histogram]?: HistogramStatistic
} & { readonly [name: string]: Statistic | undefined }

/** Statistics of a VM as a whole. */
export type VmStatistics = Statistics<VmScalar, never>

/** Statistics of one vCPU. */
export type VcpuStatistics = Statistics<VcpuScalar, VcpuHistogram>

/** Counters of a machine: what this package counts itself. */
export interface MachineStats {
  /** VM exits by kind: `io`, `mmio`, `msr`, `bus-lock`, `notify`, `shutdown`, `internal-error`, `interrupted`, `other`. */
  readonly exits: Readonly<Record<string, number>>
  /** Notify exits of each vCPU, drills included. */
  readonly notify: readonly number[]
  /** Bus locks of each vCPU; empty without option `busLockRatelimit`. */
  readonly busLocks: readonly number[]
}

/** What {@link Machine.statistics} returns. */
export interface MachineStatistics {
  /** When it was read: milliseconds of `performance.now()`. */
  readonly time: number
  /** What the kernel counts for the VM. */
  readonly vm: VmStatistics
  /** What the kernel counts for each vCPU. */
  readonly vcpus: readonly VcpuStatistics[]
  /** Our own count beside it, as {@link Machine.stats}: exits to user space only, and drills among the notify exits. */
  readonly counts: MachineStats
}
