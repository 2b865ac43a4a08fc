import type { TraceRecord } from './record.js'

/**
 * Converts a record's arguments to JSON. Values that may exceed 53 bits become hexadecimal texts.
 */
export const jsonArgs = (args: TraceRecord['args']): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(args).map(([name, value]) => [
      name,
      typeof value === 'bigint' ? `0x${(value as bigint).toString(16)}` : value,
    ]),
  )

/**
 * Formats a record as a line of JSON. `time` is written with all its digits: JSON allows this, and
 * few readers need them.
 */
export function jsonLine({ event, time, vcpu, dropped, args }: TraceRecord): string {
  const rest = { event, vcpu, ...(dropped > 0 && { dropped }), args: jsonArgs(args) }
  return `{"time":${time},${JSON.stringify(rest).slice(1)}\n`
}
