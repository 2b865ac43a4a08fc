import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { object, optional } from '../../../schema/compound.js'
import { conflict } from '../../../schema/invalid.js'
import { integer } from '../../../schema/scalars.js'

/** The largest rate and the largest burst, as in QEMU. */
const LARGEST = 1e15

/** On the command line, 0 is no limit. */
const argument = {
  takes: 'N',
  read: (word: string) => (/^[0-9]+$/.test(word) && Number(word) <= LARGEST ? Number(word) : undefined),
}

const limit = (cli: string, defaultText: string) =>
  integer({ min: 1, max: LARGEST, default: null, defaultText, cli, argument })

const limits = {
  /**
   * Bytes in a second, on average over 100 ms. QEMU's `throttling.bps-total`, or `bps-read` and
   * `bps-write` for one direction.
   *
   * @default no limit
   */
  bytesPerSecond: limit('-drive throttling.bps-total', 'no limit'),
  /**
   * Bytes in a second during a burst, at least `bytesPerSecond`. Requires `bytesPerSecond`.
   *
   * @default no bursts
   */
  bytesPerSecondMax: limit('-drive throttling.bps-total-max', 'no bursts'),
  /**
   * The length in seconds of a burst at the rate `bytesPerSecondMax`.
   *
   * @default 1
   */
  bytesPerSecondMaxLength: limit('-drive throttling.bps-total-max-length', '1'),
  /**
   * Reads, writes and write-zeroes requests in a second, on average over 100 ms. Flushes and
   * discards are not limited.
   *
   * @default no limit
   */
  operationsPerSecond: limit('-drive throttling.iops-total', 'no limit'),
  /**
   * Operations in a second during a burst, at least `operationsPerSecond`. Requires
   * `operationsPerSecond`.
   *
   * @default no bursts
   */
  operationsPerSecondMax: limit('-drive throttling.iops-total-max', 'no bursts'),
  /**
   * The length in seconds of a burst at the rate `operationsPerSecondMax`.
   *
   * @default 1
   */
  operationsPerSecondMaxLength: limit('-drive throttling.iops-total-max-length', '1'),
}

/**
 * Rate limits by QEMU's rules. A limit without a burst holds on average over 100 ms. With `…Max`,
 * the device may work at that rate until it is `…MaxLength` seconds of that rate ahead of the
 * average.
 */
export interface RateLimits extends OptionsOf<typeof limits> {}

type Limits = NormalOf<typeof limits>

/** {@link RateLimits} in normal form; 0 is no limit. */
export type NormalLimits = { readonly [K in keyof Limits]: number }

const limitsObject: Entry<RateLimits, Limits, 'required'> = object('RateLimits', limits, {
  finish: checkBursts,
  restore: given => given,
})

const sizeMember = {
  /**
   * The number of bytes that count as one operation. A larger request counts as several operations.
   *
   * @default none: a request of any size is one operation
   */
  operationSize: limit('-drive throttling.iops-size', 'none: a request of any size is one operation'),
}

const total = { ...limits, ...sizeMember }

/** Rate limits of a device, over both directions together. */
export interface ThrottleOptions extends RateLimits, OptionsOf<typeof sizeMember> {}

const directions = {
  /**
   * Limits of the guest's reads.
   *
   * @default no limit
   */
  reads: optional(limitsObject, { defaultText: 'no limit', cli: '-drive throttling.bps-read' }),
  /**
   * Limits of the guest's writes, write-zeroes requests included.
   *
   * @default no limit
   */
  writes: optional(limitsObject, { defaultText: 'no limit', cli: '-drive throttling.bps-write' }),
}

export const diskThrottleMembers = { ...total, ...directions }

/** Rate limits of a disk, for both directions together or for each direction. */
export interface DiskThrottleOptions extends ThrottleOptions, OptionsOf<typeof directions> {}

/** {@link DiskThrottleOptions} in normal form; 0 is no limit. */
export interface NormalThrottle {
  readonly total: NormalLimits
  readonly reads: NormalLimits
  readonly writes: NormalLimits
  readonly operationSize: number
}

export const throttleObject: Entry<ThrottleOptions, NormalThrottle, 'required'> = object('ThrottleOptions', total, {
  finish: (members, path) => normalThrottle({ ...members, reads: null, writes: null }, path),
  restore: normal => {
    const { reads: _, writes: __, ...members } = restoreThrottle(normal)
    return members
  },
})

export const diskThrottleObject: Entry<DiskThrottleOptions, NormalThrottle, 'required'> = object(
  'DiskThrottleOptions',
  diskThrottleMembers,
  { finish: normalThrottle, restore: restoreThrottle },
)

function normalThrottle(members: NormalOf<typeof diskThrottleMembers>, path: string): NormalThrottle {
  const { reads, writes, operationSize, ...limits } = members
  for (const unit of ['bytesPerSecond', 'operationsPerSecond'] as const) {
    if (limits[unit] !== null && (reads?.[unit] ?? writes?.[unit] ?? null) !== null) {
      throw conflict(
        path,
        `${unit} is given in total and for one direction`,
        'Limit both directions together, or each by itself.',
      )
    }
  }
  checkBursts(limits, path)
  return {
    total: normalLimits(limits),
    reads: normalLimits(reads ?? {}),
    writes: normalLimits(writes ?? {}),
    operationSize: operationSize ?? 0,
  }
}

function restoreThrottle({
  total,
  reads,
  writes,
  operationSize,
}: NormalThrottle): NormalOf<typeof diskThrottleMembers> {
  return {
    ...restoreLimits(total),
    operationSize: operationSize === 0 ? null : operationSize,
    reads: isLimited(reads) ? restoreLimits(reads) : null,
    writes: isLimited(writes) ? restoreLimits(writes) : null,
  }
}

function checkBursts(given: Limits, path: string): Limits {
  for (const rate of ['bytesPerSecond', 'operationsPerSecond'] as const) {
    const { [rate]: average, [`${rate}Max` as const]: max, [`${rate}MaxLength` as const]: length } = given
    if (max === null) {
      if (length === null) continue
      throw conflict(path, `${rate}MaxLength is given without ${rate}Max`, `Give ${rate}Max, or omit ${rate}MaxLength.`)
    }
    if (average === null || max < average) {
      throw conflict(
        path,
        `${rate}Max is ${max}, and ${rate} is ${average ?? 'missing'}`,
        `Give ${rate}, and ${rate}Max of at least as much.`,
      )
    }
    if (max * (length ?? 1) > LARGEST) {
      throw conflict(
        path,
        `${rate}Max is ${max} for ${length} s, which is more than 10^15 in a burst`,
        `Give a smaller ${rate}Max or ${rate}MaxLength.`,
      )
    }
  }
  return given
}

function normalLimits(limits: Partial<Limits>): NormalLimits {
  return {
    bytesPerSecond: limits.bytesPerSecond ?? 0,
    bytesPerSecondMax: limits.bytesPerSecondMax ?? 0,
    bytesPerSecondMaxLength: limits.bytesPerSecondMaxLength ?? 1,
    operationsPerSecond: limits.operationsPerSecond ?? 0,
    operationsPerSecondMax: limits.operationsPerSecondMax ?? 0,
    operationsPerSecondMaxLength: limits.operationsPerSecondMaxLength ?? 1,
  }
}

function isLimited({ bytesPerSecond, operationsPerSecond }: NormalLimits): boolean {
  return bytesPerSecond > 0 || operationsPerSecond > 0
}

/** Leaves out the length of a burst if no burst is set. */
function restoreLimits(limits: NormalLimits): Limits {
  const { bytesPerSecondMax, bytesPerSecondMaxLength, operationsPerSecondMax, operationsPerSecondMaxLength } = limits
  const given = {
    ...limits,
    bytesPerSecondMaxLength: bytesPerSecondMax && bytesPerSecondMaxLength,
    operationsPerSecondMaxLength: operationsPerSecondMax && operationsPerSecondMaxLength,
  }
  return Object.fromEntries(Object.entries(given).map(([key, rate]) => [key, rate === 0 ? null : rate])) as Limits
}
