// The CMOS clock, QEMU's -rtc.

import { build } from '../../schema/build.js'
import { object, withDefault } from '../../schema/compound.js'
import type { Entry, NormalOf, OptionsOf } from '../../schema/entry.js'
import { choice } from '../../schema/scalars.js'

/** A date alone, a date with a time, or the format of `Date.toISOString`. */
const DATE = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?)?$/

/** QEMU's form of a date. A date without a zone is in UTC, as the clock is. */
function baseArgument(word: string): 'utc' | 'localtime' | Date | undefined {
  if (word === 'utc' || word === 'localtime') return word
  if (!/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2})?$/.test(word)) return undefined
  return shownDate(parseDate(word))
}

/** Returns a date that four digits of a year can show. */
function shownDate(date: Date | undefined): Date | undefined {
  // The comparison is false for an invalid date.
  return date !== undefined && Math.abs(date.getUTCFullYear() - 4999.5) < 5000 ? date : undefined
}

export const rtcMembers = {
  /**
   * The time of the clock when the machine is created: the time in UTC, the local time, or a date.
   * A text without a zone, such as `2026-01-31T12:00:00`, is the time that the clock shows. The clock
   * shows the years 0 to 9999.
   *
   * @default 'utc'
   */
  base: build<'utc' | 'localtime' | Date | string, string, 'utc'>(
    {
      takes: "'utc', 'localtime', a Date of the years 0 to 9999 or a text YYYY-MM-DD[THH:MM:SS]",
      argument: { takes: 'utc|localtime|YYYY-MM-DD[THH:MM:SS]', read: baseArgument },
      read: value => {
        if (value === 'utc' || value === 'localtime') return value
        const date = value instanceof Date ? value : typeof value === 'string' ? parseDate(value) : undefined
        return shownDate(date)?.toISOString()
      },
      write: normal => normal,
    },
    { default: 'utc', cli: '-rtc base' },
  ),
  /**
   * The clock that drives it. `host` is the host's clock. `vm` stands still while the machine is
   * stopped.
   *
   * @default 'host'
   */
  clock: choice(['host', 'vm'], { default: 'host', cli: '-rtc clock' }),
}

/** The CMOS clock. */
export interface RtcOptions extends OptionsOf<typeof rtcMembers> {}

/** {@link RtcOptions} in normal form. A date is a text in UTC. */
export interface NormalRtc extends NormalOf<typeof rtcMembers> {}

const rtcObject: Entry<RtcOptions, NormalRtc, 'required'> = object('RtcOptions', rtcMembers)

export const rtcEntry = withDefault(rtcObject, { default: {}, defaultText: 'UTC of the host', cli: '-rtc' })

function parseDate(text: string): Date | undefined {
  if (!DATE.test(text)) return undefined
  return new Date(/Z$|^.{10}$/.test(text) ? text : `${text}Z`)
}

/**
 * Returns the milliseconds by which a clock that is created at `now` is ahead of the host's clock.
 */
export function rtcOffset({ base }: NormalRtc, now: Date): number {
  if (base === 'utc') return 0
  return base === 'localtime' ? -now.getTimezoneOffset() * 60_000 : Date.parse(base) - now.getTime()
}
