// The entropy device in normal form.

import * as v from 'valibot'

/** Random bytes for the guest, QEMU's `-object rng-random` and `-device virtio-rng-device`. */
export interface RngOptions {
  /**
   * The file they are read from.
   *
   * @default '/dev/urandom'
   */
  readonly source?: string
  /**
   * The most bytes in a {@linkcode period}, on average; a whole number from 1.
   *
   * @default no limit
   */
  readonly maxBytes?: number
  /**
   * Milliseconds, from 1 to 2^32 - 1.
   *
   * @default 65536
   */
  readonly period?: number
}

/** {@link RngOptions}, everything set. */
export interface NormalRng {
  readonly source: string
  readonly maxBytes: number | null
  readonly period: number
}

const positive = v.pipe(v.number(), v.safeInteger(), v.minValue(1))

/** Everything is checked here. */
export const rngShape = v.union([
  v.boolean(),
  v.strictObject({
    maxBytes: v.optional(positive),
    period: v.optional(v.pipe(positive, v.maxValue(2 ** 32 - 1))),
    source: v.optional(
      v.pipe(
        v.string(),
        v.nonEmpty(),
        v.check(path => !path.includes('\0')),
      ),
    ),
  }),
])

/** What the option takes, for messages. */
export const rngTakes =
  'a boolean, or { source, maxBytes, period } with the path of a file, and bytes in a period of milliseconds, both from 1'

/** Fills in the defaults; `null` for no device. */
export function normaliseRng(rng: boolean | RngOptions): NormalRng | null {
  if (rng === false) return null
  return { source: '/dev/urandom', maxBytes: null, period: 65_536, ...(rng === true ? {} : rng) }
}
