import type { BindingBalloonStatistics } from '../../../native/binding.cjs'

/** The guest's report on its memory. Values that a guest does not report are absent. */
export interface BalloonStatistics {
  /** The time of the report. */
  readonly time: Date
  /** Bytes that were swapped in. */
  readonly swapIn?: number
  /** Bytes that were swapped out. */
  readonly swapOut?: number
  /** Page faults that waited for a disk. */
  readonly majorFaults?: number
  /** Other page faults. */
  readonly minorFaults?: number
  /** Bytes of unused memory. */
  readonly freeMemory?: number
  /** Bytes of memory in all, without the balloon. */
  readonly totalMemory?: number
  /** Bytes that are available without swapping. */
  readonly availableMemory?: number
  /** Bytes of files in memory that can be dropped. */
  readonly diskCaches?: number
  /** Huge pages that were allocated. */
  readonly hugePageAllocations?: number
  /** Huge pages that could not be allocated. */
  readonly hugePageFailures?: number
  /**
   * Processes that the out-of-memory killer ended. Only newer guests report this value and the
   * following ones.
   */
  readonly oomKill?: number
  /** Allocations that waited for reclaim. */
  readonly allocStall?: number
  /** Pages that background reclaim has scanned. */
  readonly asyncScan?: number
  /** Pages that direct reclaim has scanned. */
  readonly directScan?: number
  /** Pages that background reclaim has freed. */
  readonly asyncReclaim?: number
  /** Pages that direct reclaim has freed. */
  readonly directReclaim?: number
}

/** The names, by the tag numbers of the virtio specification. */
const names = [
  'swapIn',
  'swapOut',
  'majorFaults',
  'minorFaults',
  'freeMemory',
  'totalMemory',
  'availableMemory',
  'diskCaches',
  'hugePageAllocations',
  'hugePageFailures',
  'oomKill',
  'allocStall',
  'asyncScan',
  'directScan',
  'asyncReclaim',
  'directReclaim',
] as const satisfies readonly Exclude<keyof BalloonStatistics, 'time'>[]

/** Converts the addon's list of values to values by name. */
export function balloonStatistics({ time, values }: BindingBalloonStatistics): BalloonStatistics {
  const reported = names.flatMap((name, index) => {
    const value = values[index]
    return typeof value === 'number' ? [[name, value] as const] : []
  })
  return { time: new Date(time), ...Object.fromEntries(reported) }
}
