// MSRs that are answered outside the kernel, in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../../errors/machine-config-error.js'
import type { MsrRead, MsrRule, MsrWrite } from './cpu-options.js'

/** The kernel's most ranges. */
const MAX_RANGES = 16
/** The kernel's longest range. */
const MAX_MSRS = 12_288

/** {@link MsrRule}, everything set. */
export interface NormalMsrRule {
  readonly index: number
  readonly count: number
  readonly read: bigint | 'fault' | 'allow' | MsrRead
  readonly write: 'ignore' | 'fault' | 'allow' | MsrWrite
}

/** Shape only. */
export const msrFilterShape = v.array(
  v.strictObject({
    index: v.number(),
    count: v.optional(v.number()),
    read: v.optional(v.union([v.number(), v.bigint(), v.picklist(['fault', 'allow']), v.function()])),
    write: v.optional(v.union([v.picklist(['ignore', 'fault', 'allow']), v.function()])),
  }),
)

/** What the option takes, for messages. */
export const msrFilterTakes = `a list of at most ${MAX_RANGES} { index, count, read, write }`

/** Checks the numbers and fills in the defaults; what ranges must not be together the addon checks. */
export function normaliseMsrFilter(rules: readonly MsrRule[]): readonly NormalMsrRule[] {
  if (rules.length > MAX_RANGES) throw bad(`has ${rules.length} ranges, and the kernel at most ${MAX_RANGES}`)
  return rules.map(({ index, count = 1, read = 'allow', write = 'allow' }) => {
    if (!Number.isInteger(index) || index < 0 || index > 0xffff_ffff) throw bad(`has index ${index}, which is no MSR`)
    if (!Number.isInteger(count) || count < 1 || count > MAX_MSRS || index + count > 2 ** 32) {
      throw bad(`has a range of ${count} MSRs, and the kernel takes 1 to ${MAX_MSRS}`)
    }
    if (typeof read === 'string' || typeof read === 'function') return { index, count, read, write }
    const value = typeof read === 'bigint' || Number.isSafeInteger(read) ? BigInt(read) : -1n
    if (value < 0n || value >= 1n << 64n) throw bad(`has the value ${read}, which is no number of 64 bits`)
    return { index, count, read: value, write }
  })
}

function bad(what: string): MachineConfigError {
  const remedy = `It takes ${msrFilterTakes}.`
  return new MachineConfigError(`machine option 'msrFilter' ${what}`, { option: 'msrFilter', remedy })
}
