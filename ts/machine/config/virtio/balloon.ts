// The balloon in normal form.

import * as v from 'valibot'

/** Memory that the guest does without, QEMU's `-device virtio-balloon-device`. */
export interface BalloonOptions {
  /**
   * A guest that would kill a process for want of memory takes pages back first.
   *
   * @default false
   */
  readonly deflateOnOom?: boolean
  /**
   * The guest reports pages that it does not use, at any time and unasked; the host has them until the guest touches them again.
   *
   * @default false
   */
  readonly freePageReporting?: boolean
  /**
   * How often the guest is asked for {@link Balloon.statistics}, in milliseconds: a whole number from 0 to 2^32 - 1, and 0 is never.
   *
   * @default 0
   */
  readonly statisticsInterval?: number
}

/** {@link BalloonOptions}, everything set. */
export type NormalBalloon = Required<BalloonOptions>

/** Everything is checked here. */
export const balloonShape = v.union([
  v.boolean(),
  v.strictObject({
    deflateOnOom: v.optional(v.boolean()),
    freePageReporting: v.optional(v.boolean()),
    statisticsInterval: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 1))),
  }),
])

/** What the option takes, for messages. */
export const balloonTakes =
  'a boolean, or { deflateOnOom, freePageReporting, statisticsInterval } with two booleans and milliseconds from 0 to 2^32 - 1'

/** Fills in the defaults; `null` for no device. */
export function normaliseBalloon(balloon: boolean | BalloonOptions): NormalBalloon | null {
  if (balloon === false) return null
  const { deflateOnOom = false, freePageReporting = false, statisticsInterval = 0 } = balloon === true ? {} : balloon
  return { deflateOnOom, freePageReporting, statisticsInterval }
}
