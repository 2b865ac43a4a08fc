import type { TraceRecord } from './record.js'

/** A record's arguments for JSON: what may take more than 53 bits is hexadecimal. */
export const jsonArgs = (args: TraceRecord['args']): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(args).map(([name, value]) => [
      name,
      typeof value === 'bigint' ? `0x${(value as bigint).toString(16)}` : value,
    ]),
  )

/** A record as a line of JSON. `time` is written in full, which JSON allows and few readers need. */
export function jsonLine({ event, time, vcpu, dropped, args }: TraceRecord): string {
  const rest = { event, vcpu, ...(dropped > 0 && { dropped }), args: jsonArgs(args) }
  return `{"time":${time},${JSON.stringify(rest).slice(1)}\n`
}
