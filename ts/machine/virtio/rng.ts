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
}

/** {@link RngOptions}, everything set. */
export type NormalRng = Required<RngOptions>

/** Shape only. */
export const rngShape = v.union([
  v.boolean(),
  v.strictObject({
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
export const rngTakes = 'a boolean, or { source } with the path of a file'

/** Fills in the defaults; `null` for no device. */
export function normaliseRng(rng: boolean | RngOptions): NormalRng | null {
  if (rng === false) return null
  return { source: '/dev/urandom', ...(rng === true ? {} : rng) }
}
