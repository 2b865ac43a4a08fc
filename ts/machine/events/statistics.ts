/** Fields of every statistic. `value * base ** exponent` is in `unit`. */
interface StatisticBase {
  /** The kernel's name, such as `halt_wait_ns`. */
  readonly name: string
  /** The unit; `null` when the name states what is counted, for example events or pages. */
  readonly unit: 'bytes' | 'seconds' | 'cycles' | 'boolean' | null
  /** The base of {@link exponent}. */
  readonly base: 10 | 2
  /** The scale, for example -9 with base 10 and unit `seconds` for nanoseconds. */
  readonly exponent: number
}

/** A statistic with one value. */
export interface ScalarStatistic extends StatisticBase {
  /**
   * `cumulative` only grows, `instant` is the current value, `peak` is the largest value so far.
   */
  readonly type: 'cumulative' | 'instant' | 'peak'
  /** Exact up to 2^53, rounded above. 0 or 1 with unit `boolean`. */
  readonly value: number
}

/** The number of samples with `from <= sample < to`. */
export interface HistogramBucket {
  readonly from: number
  /** `Infinity` for the last bucket. */
  readonly to: number
  readonly count: number
}

/** A distribution. */
export interface HistogramStatistic extends StatisticBase {
  /** Linear: buckets of equal width. Log2: each bucket is twice as wide as the bucket before it. */
  readonly type: 'linear-histogram' | 'log2-histogram'
  /** In ascending order. (QEMU's `query-stats` lists them in descending order.) */
  readonly buckets: readonly HistogramBucket[]
}

/** A statistic of the kernel. */
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
 * Statistics by the kernel's name. The type names those of Linux 6.1 on x86. Each kernel has its
 * own set: any of them may be missing, and those of a newer kernel are present under their names.
 */
type Statistics<Scalar extends string, Histogram extends string> = { readonly [name in Scalar]?: ScalarStatistic } & {
  readonly [name in Histogram]?: HistogramStatistic
} & { readonly [name: string]: Statistic | undefined }

/** Statistics of a VM as a whole. */
export type VmStatistics = Statistics<VmScalar, never>

/** Statistics of one vCPU. */
export type VcpuStatistics = Statistics<VcpuScalar, VcpuHistogram>

/** Counters of a machine, counted by this package itself. */
export interface MachineCounters {
  /**
   * VM exits by kind: `io`, `mmio`, `msr`, `bus-lock`, `notify`, `shutdown`, `internal-error`,
   * `interrupted`, `other`.
   */
  readonly exits: Readonly<Record<string, number>>
  /** Notify exits of each vCPU, drills included. */
  readonly notify: readonly number[]
  /** Bus locks of each vCPU; empty without option `busLockRatelimit`. */
  readonly busLocks: readonly number[]
}

/** What {@link Machine.kvmStatistics} returns. */
export interface KvmStatistics {
  /** The time of the reading: milliseconds of `performance.now()`. */
  readonly time: number
  /** Statistics of the VM. */
  readonly vm: VmStatistics
  /** Statistics of each vCPU. */
  readonly vcpus: readonly VcpuStatistics[]
  /**
   * This package's own counters, as {@link Machine.counters} returns them. They count exits to user
   * space only, and include drills.
   */
  readonly counters: MachineCounters
}
