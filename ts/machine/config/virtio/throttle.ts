// Rate limits of a device in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../../errors/machine-config-error.js'
import type { MachineOptions } from '../machine-options.js'

/** The largest rate and burst, as in QEMU. */
const LARGEST = 1e15

/**
 * Rate limits by QEMU's rules. What has no bursts keeps its average over 100 ms; with `…Max` it may go at that rate until it is
 * `…MaxLength` seconds of it ahead of its average.
 *
 * All numbers are whole, from 1 to 10^15.
 */
export interface RateLimits {
  /**
   * Bytes a second: QEMU's `throttling.bps-total`, or of one direction `bps-read` and `bps-write`.
   *
   * @default no limit
   */
  readonly bytesPerSecond?: number
  /**
   * Bytes a second in a burst, `throttling.bps-total-max`; at least `bytesPerSecond`, which it needs.
   *
   * @default no bursts
   */
  readonly bytesPerSecondMax?: number
  /**
   * Seconds of a burst, `throttling.bps-total-max-length`.
   *
   * @default 1
   */
  readonly bytesPerSecondMaxLength?: number
  /**
   * Operations a second, `throttling.iops-total`.
   *
   * @default no limit
   */
  readonly operationsPerSecond?: number
  /**
   * Operations a second in a burst, `throttling.iops-total-max`; at least `operationsPerSecond`, which it needs.
   *
   * @default no bursts
   */
  readonly operationsPerSecondMax?: number
  /**
   * Seconds of a burst, `throttling.iops-total-max-length`.
   *
   * @default 1
   */
  readonly operationsPerSecondMaxLength?: number
}

/** Rate limits of a device, both directions together. */
export interface ThrottleOptions extends RateLimits {
  /**
   * Bytes that count as one operation, `throttling.iops-size`: a larger one is several.
   *
   * @default an operation is one, however large
   */
  readonly operationSize?: number
}

/** Rate limits of a disk: of both directions together, or of each by itself. */
export interface DiskThrottleOptions extends ThrottleOptions {
  /**
   * What the guest reads.
   *
   * @default no limit
   */
  readonly reads?: RateLimits
  /**
   * What it writes, zeroes included.
   *
   * @default no limit
   */
  readonly writes?: RateLimits
}

/** {@link RateLimits}, everything set; 0 where there is no limit. */
export type NormalLimits = Required<RateLimits>

/** {@link DiskThrottleOptions}, everything set; 0 where there is no limit. */
export interface NormalThrottle {
  readonly total: NormalLimits
  readonly reads: NormalLimits
  readonly writes: NormalLimits
  readonly operationSize: number
}

const limits = {
  bytesPerSecond: v.optional(v.number()),
  bytesPerSecondMax: v.optional(v.number()),
  bytesPerSecondMaxLength: v.optional(v.number()),
  operationsPerSecond: v.optional(v.number()),
  operationsPerSecondMax: v.optional(v.number()),
  operationsPerSecondMaxLength: v.optional(v.number()),
}

/** Shape only. */
export const throttleShape = v.strictObject({ ...limits, operationSize: v.optional(v.number()) })

/** Shape only. */
export const diskThrottleShape = v.strictObject({
  ...throttleShape.entries,
  reads: v.optional(v.strictObject(limits)),
  writes: v.optional(v.strictObject(limits)),
})

/** Fills in the defaults and checks the numbers, which belong to the machine option `option`. */
export function normaliseThrottle(throttle: DiskThrottleOptions, option: keyof MachineOptions): NormalThrottle {
  const { reads = {}, writes = {}, operationSize, ...total } = throttle
  const refuse: Refuse = (what, remedy) => {
    throw new MachineConfigError(`a throttle of option '${option}' ${what}`, { option, remedy })
  }
  for (const unit of ['bytesPerSecond', 'operationsPerSecond'] as const) {
    if (total[unit] !== undefined && (reads[unit] ?? writes[unit]) !== undefined) {
      refuse(`has ${unit} in total and of one direction`, 'Limit both together, or each by itself.')
    }
  }
  checkNumbers({ ...total, operationSize }, '', refuse)
  checkNumbers(reads, 'reads.', refuse)
  checkNumbers(writes, 'writes.', refuse)
  return {
    total: normaliseLimits(total),
    reads: normaliseLimits(reads),
    writes: normaliseLimits(writes),
    operationSize: operationSize ?? 0,
  }
}

type Refuse = (what: string, remedy: string) => void

function checkNumbers(
  given: RateLimits & { readonly operationSize?: number | undefined },
  of: string,
  refuse: Refuse,
): void {
  for (const [key, value] of Object.entries(given)) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= LARGEST)) {
      refuse(`has ${of}${key} ${value}`, 'Give whole numbers from 1 to 10^15, and leave out what has no limit.')
    }
  }
  for (const unit of ['bytes', 'operations'] as const) {
    const [average, max, length] = [
      given[`${unit}PerSecond`],
      given[`${unit}PerSecondMax`],
      given[`${unit}PerSecondMaxLength`],
    ]
    if (max === undefined && length !== undefined) {
      refuse(`has ${of}${unit}PerSecondMaxLength without ${unit}PerSecondMax`, 'Say how large the bursts are.')
    }
    if (max === undefined) continue
    if (average === undefined || max < average) {
      refuse(
        `has ${of}${unit}PerSecondMax ${max}, and ${unit}PerSecond is ${average ?? 'missing'}`,
        'Give an average, and a burst that is at least as large.',
      )
    }
    if (max * (length ?? 1) > LARGEST) {
      refuse(`has bursts of ${max} for ${length} s`, 'Let rate times length be at most 10^15.')
    }
  }
}

function normaliseLimits(limits: RateLimits): NormalLimits {
  return {
    bytesPerSecond: limits.bytesPerSecond ?? 0,
    bytesPerSecondMax: limits.bytesPerSecondMax ?? 0,
    bytesPerSecondMaxLength: limits.bytesPerSecondMaxLength ?? 1,
    operationsPerSecond: limits.operationsPerSecond ?? 0,
    operationsPerSecondMax: limits.operationsPerSecondMax ?? 0,
    operationsPerSecondMaxLength: limits.operationsPerSecondMaxLength ?? 1,
  }
}

/** The options that have this normal form. */
export function explicitThrottle({ total, reads, writes, operationSize }: NormalThrottle): DiskThrottleOptions {
  return {
    ...explicitLimits(total),
    ...(isLimited(reads) && { reads: explicitLimits(reads) }),
    ...(isLimited(writes) && { writes: explicitLimits(writes) }),
    ...(operationSize > 0 && { operationSize }),
  }
}

function isLimited({ bytesPerSecond, operationsPerSecond }: NormalLimits): boolean {
  return bytesPerSecond > 0 || operationsPerSecond > 0
}

/** Zeros stand for what has no limit, and a burst's length without a burst says nothing. */
function explicitLimits(limits: NormalLimits): RateLimits {
  const { bytesPerSecondMax, bytesPerSecondMaxLength, operationsPerSecondMax, operationsPerSecondMaxLength } = limits
  const lengths = {
    bytesPerSecondMaxLength: bytesPerSecondMax && bytesPerSecondMaxLength,
    operationsPerSecondMaxLength: operationsPerSecondMax && operationsPerSecondMaxLength,
  }
  return Object.fromEntries(Object.entries({ ...limits, ...lengths }).filter(([, rate]) => rate !== 0))
}
