import { didYouMean } from '../errors/suggest.js'
import { traceEvents } from './events.js'
import type { TraceEventName } from './record.js'

/** All names, in the accelerator's order. */
export const traceEventNames = Object.keys(traceEvents) as readonly TraceEventName[]

/** The events that a glob of `*` and `?` matches. */
export function matchingEvents(glob: string): readonly TraceEventName[] {
  const source = glob
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  const pattern = new RegExp(`^${source}$`)
  return traceEventNames.filter(name => pattern.test(name))
}

/** What to say of a glob that matches nothing; `undefined` for one that does. */
export function matchesNothing(glob: string): string | undefined {
  if (matchingEvents(glob).length > 0) return undefined
  return `no trace event matches '${glob}'.${didYouMean(glob, traceEventNames)}`
}
