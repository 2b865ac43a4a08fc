// Rate limits of a device in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../errors/machine-config-error.js'
import type { MachineOptions } from '../options.js'

/** The largest rate and burst, as in QEMU. */
const LARGEST = 1e15

/**
 * Rate limits of a device, by QEMU's rules. A device without bursts keeps its average over 100 ms; with `…Max` it may go at that rate until it is
 * `…MaxLength` seconds of it ahead of its average.
 *
 * All numbers are whole, from 1 to 10^15.
 */
export interface ThrottleOptions {
  /**
   * Bytes a second, both ways together: QEMU's `throttling.bps-total`.
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
  /**
   * Bytes that count as one operation, `throttling.iops-size`: a larger one is several.
   *
   * @default an operation is one, however large
   */
  readonly operationSize?: number
}

/** {@link ThrottleOptions}, everything set; 0 where there is no limit. */
export type NormalThrottle = Required<ThrottleOptions>

/** Shape only. */
export const throttleShape = v.strictObject({
  bytesPerSecond: v.optional(v.number()),
  bytesPerSecondMax: v.optional(v.number()),
  bytesPerSecondMaxLength: v.optional(v.number()),
  operationsPerSecond: v.optional(v.number()),
  operationsPerSecondMax: v.optional(v.number()),
  operationsPerSecondMaxLength: v.optional(v.number()),
  operationSize: v.optional(v.number()),
})

/** Fills in the defaults and checks the numbers, which belong to the machine option `option`. */
export function normaliseThrottle(throttle: ThrottleOptions, option: keyof MachineOptions): NormalThrottle {
  const refuse = (what: string, remedy: string): never => {
    throw new MachineConfigError(`a throttle of option '${option}' ${what}`, { option, remedy })
  }
  for (const [key, value] of Object.entries(throttle)) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= LARGEST)) {
      refuse(`has ${key} ${value}`, 'Give whole numbers from 1 to 10^15, and leave out what has no limit.')
    }
  }
  for (const unit of ['bytes', 'operations'] as const) {
    const [average, max, length] = [
      throttle[`${unit}PerSecond`],
      throttle[`${unit}PerSecondMax`],
      throttle[`${unit}PerSecondMaxLength`],
    ]
    if (max === undefined && length !== undefined) {
      refuse(`has ${unit}PerSecondMaxLength without ${unit}PerSecondMax`, 'Say how large the bursts are.')
    }
    if (max === undefined) continue
    if (average === undefined || max < average) {
      refuse(
        `has ${unit}PerSecondMax ${max}, and ${unit}PerSecond is ${average ?? 'missing'}`,
        'Give an average, and a burst that is at least as large.',
      )
    }
    if (max * (length ?? 1) > LARGEST) {
      refuse(`has bursts of ${max} for ${length} s`, 'Let rate times length be at most 10^15.')
    }
  }
  return {
    bytesPerSecond: throttle.bytesPerSecond ?? 0,
    bytesPerSecondMax: throttle.bytesPerSecondMax ?? 0,
    bytesPerSecondMaxLength: throttle.bytesPerSecondMaxLength ?? 1,
    operationsPerSecond: throttle.operationsPerSecond ?? 0,
    operationsPerSecondMax: throttle.operationsPerSecondMax ?? 0,
    operationsPerSecondMaxLength: throttle.operationsPerSecondMaxLength ?? 1,
    operationSize: throttle.operationSize ?? 0,
  }
}
