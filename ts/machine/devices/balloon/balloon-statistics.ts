import type { BindingBalloonStatistics } from '../../../native/binding.cjs'

/** The guest's own account of its memory. What a guest does not know is missing. */
export interface BalloonStatistics {
  /** When it was said. */
  readonly time: Date
  /** Bytes that were swapped in. */
  readonly swapIn?: number
  /** Bytes that were swapped out. */
  readonly swapOut?: number
  /** Page faults that had to wait for a disk. */
  readonly majorFaults?: number
  /** Other page faults. */
  readonly minorFaults?: number
  /** Bytes that nothing uses. */
  readonly freeMemory?: number
  /** Bytes that there are, those in the balloon left out. */
  readonly totalMemory?: number
  /** Bytes that can be had without swapping. */
  readonly availableMemory?: number
  /** Bytes of files in memory that can be dropped. */
  readonly diskCaches?: number
  /** Huge pages that were allocated. */
  readonly hugePageAllocations?: number
  /** Huge pages that could not be allocated. */
  readonly hugePageFailures?: number
  /** Processes that were killed for want of memory. This one and the following are told by newer guests only. */
  readonly oomKill?: number
  /** Allocations that had to wait for reclaim. */
  readonly allocStall?: number
  /** Pages that reclaim in the background has looked at. */
  readonly asyncScan?: number
  /** Pages that allocations have looked at. */
  readonly directScan?: number
  /** Pages that the background has reclaimed. */
  readonly asyncReclaim?: number
  /** Pages that allocations have reclaimed. */
  readonly directReclaim?: number
}

/** By the specification's numbers. */
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

/** Gives values their names. */
export function balloonStatistics({ time, values }: BindingBalloonStatistics): BalloonStatistics {
  const said = names.flatMap((name, index) => {
    const value = values[index]
    return typeof value === 'number' ? [[name, value] as const] : []
  })
  return { time: new Date(time), ...Object.fromEntries(said) }
}
