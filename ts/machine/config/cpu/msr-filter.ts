// MSRs whose accesses are handled outside the kernel.

import { build } from '../../../schema/build.js'
import { list, object } from '../../../schema/compound.js'
import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { conflict } from '../../../schema/invalid.js'
import { integer } from '../../../schema/scalars.js'

/** The kernel's maximum number of ranges. */
const MAX_RANGES = 16
/** The kernel's maximum length of a range. */
const MAX_MSRS = 12_288

/** The value of an MSR: 64 bits, or a #GP. */
export type MsrValue = number | bigint | 'fault'

/** Returns the value of `rdmsr`. The vCPU waits for a promise; other vCPUs continue to run. */
export type MsrRead = (index: number, vcpu: number) => MsrValue | Promise<MsrValue>

/**
 * Handles `wrmsr`; `'fault'` injects a #GP. The vCPU waits for a promise; other vCPUs continue to
 * run.
 */
export type MsrWrite = (index: number, value: bigint, vcpu: number) => void | 'fault' | Promise<void | 'fault'>

const members = {
  /** The first MSR, 0 to 4294967295, except the x2APIC's (0x800 to 0x8ff). */
  index: integer({ min: 0, max: 0xffff_ffff }),
  /**
   * The number of MSRs, 1 to 12288.
   *
   * @default 1
   */
  count: integer({ min: 1, max: MAX_MSRS, default: 1 }),
  /**
   * The result of `rdmsr`: a value of 64 bits; `fault` for a #GP; `allow` for the kernel's own
   * handling; or the result of a function, which is called on the machine's thread with the MSR and
   * the vCPU. A function that throws ends the machine.
   *
   * @default 'allow'
   */
  read: build<MsrValue | 'allow' | MsrRead, bigint | 'fault' | 'allow' | MsrRead, 'allow'>(
    {
      takes: "a whole number of 64 bits, 'fault', 'allow' or a function",
      read: value => {
        if (value === 'fault' || value === 'allow') return value
        if (typeof value === 'function') return value as MsrRead
        if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) return undefined
        const bits = BigInt(value as number | bigint)
        return bits >= 0n && bits < 1n << 64n ? bits : undefined
      },
      write: normal => normal,
    },
    { default: 'allow' },
  ),
  /**
   * The effect of `wrmsr`: `ignore` does nothing; `fault` injects a #GP; `allow` is the kernel's
   * own handling; a function is called with the MSR, the value and the vCPU.
   *
   * @default 'allow'
   */
  write: build<'ignore' | 'fault' | 'allow' | MsrWrite, 'ignore' | 'fault' | 'allow' | MsrWrite, 'allow'>(
    {
      takes: "'ignore', 'fault', 'allow' or a function",
      read: value => {
        if (value === 'ignore' || value === 'fault' || value === 'allow') return value
        return typeof value === 'function' ? (value as MsrWrite) : undefined
      },
      write: normal => normal,
    },
    { default: 'allow' },
  ),
}

/** A rule for accesses to a range of MSRs. */
export interface MsrRule extends OptionsOf<typeof members> {}

/** {@link MsrRule} in normal form. */
export interface NormalMsrRule extends NormalOf<typeof members> {}

const ruleObject: Entry<MsrRule, NormalMsrRule, 'required'> = object('MsrRule', members, {
  finish: (rule, path) => {
    if (rule.index + rule.count <= 2 ** 32) return rule
    throw conflict(path, `${rule.count} MSRs from ${rule.index} on end above 0xffffffff`, 'Give a smaller count.')
  },
  restore: rule => rule,
})

/** The addon checks the ranges against each other. */
export const msrFilterEntry = list(ruleObject, { max: MAX_RANGES })
