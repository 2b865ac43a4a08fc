import { didYouMean } from '../errors/suggest.js'
import { traceEvents } from './events.js'
import type { TraceEventName } from './record.js'

/** The names of all events, in the accelerator's order. */
export const traceEventNames = Object.keys(traceEvents) as readonly TraceEventName[]

/** Returns the events that match a glob of `*` and `?`. */
export function matchingEvents(glob: string): readonly TraceEventName[] {
  const source = glob
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  const pattern = new RegExp(`^${source}$`)
  return traceEventNames.filter(name => pattern.test(name))
}

/** Returns the error message for a glob that matches no event; `undefined` if an event matches. */
export function matchesNothing(glob: string): string | undefined {
  if (matchingEvents(glob).length > 0) return undefined
  return `no trace event matches '${glob}'.${didYouMean(glob, traceEventNames)}`
}
