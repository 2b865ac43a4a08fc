// The CMOS clock in normal form.

import * as v from 'valibot'

/** The CMOS clock, as `-rtc` has it. */
export interface RtcOptions {
  /**
   * What it shows when the machine is made: the time in UTC, the local time, or a date; a text without a zone, such as
   * `2026-01-31T12:00:00`, is what the clock shows.
   *
   * @default 'utc'
   */
  readonly base?: 'utc' | 'localtime' | Date | string
  /**
   * `host` goes with the host's clock, `vm` stands still while the machine does.
   *
   * @default 'host'
   */
  readonly clock?: 'host' | 'vm'
}

/** {@link RtcOptions}, everything set; a date is a text in UTC. */
export interface NormalRtc {
  readonly base: string
  readonly clock: 'host' | 'vm'
}

/** A date by itself, with a time, or as `Date.toISOString` writes it. */
const DATE = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?)?$/

const milliseconds = (date: string): number => Date.parse(/Z$|^.{10}$/.test(date) ? date : `${date}Z`)

/** Everything is checked here. */
export const rtcShape = v.strictObject({
  base: v.optional(
    v.union([
      v.date(),
      v.picklist(['utc', 'localtime']),
      v.pipe(
        v.string(),
        v.regex(DATE),
        v.check(date => !Number.isNaN(milliseconds(date))),
      ),
    ]),
  ),
  clock: v.optional(v.picklist(['host', 'vm'])),
})

/** What the option takes, for messages. */
export const rtcTakes = "{ base, clock } with 'utc', 'localtime', a Date or YYYY-MM-DD[THH:MM:SS], and 'host' or 'vm'"

/** Fills in the defaults. */
export function normaliseRtc({ base = 'utc', clock = 'host' }: RtcOptions): NormalRtc {
  if (base instanceof Date) return { base: base.toISOString(), clock }
  return { base: base === 'utc' || base === 'localtime' ? base : new Date(milliseconds(base)).toISOString(), clock }
}

/** By how many milliseconds a clock that is made `now` is ahead of the host's. */
export function rtcOffset({ base }: NormalRtc, now: Date): number {
  if (base === 'utc') return 0
  return base === 'localtime' ? -now.getTimezoneOffset() * 60_000 : Date.parse(base) - now.getTime()
}
