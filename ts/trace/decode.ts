import type { BindingTraceRecords } from '../native/binding.cjs'
import { traceEvents } from './events.js'
import { traceEventNames } from './glob.js'
import type { TraceArgType, TraceRecord } from './record.js'

/** The arguments of each event, in the order of the table. */
const layouts = traceEventNames.map(event => ({
  event,
  args: Object.entries(traceEvents[event].args) as readonly (readonly [string, TraceArgType])[],
}))

/** Decodes records. crates/binding/src/trace.rs describes their layout. */
export function decodeRecords({ words, texts }: BindingTraceRecords): TraceRecord[] {
  const records: TraceRecord[] = []
  for (let at = 0; at < words.length;) {
    const [kind = 0n, time = 0n, vcpu = 0n, dropped = 0n] = words.subarray(at, at + 4)
    const layout = layouts[Number(kind)]
    // The event's index is always valid: a test compares this table with the addon's.
    if (layout === undefined) break
    at += 4
    const args: Record<string, unknown> = {}
    for (const [name, type] of layout.args) args[name] = value(type, words[at++] ?? 0n, texts)
    records.push({
      event: layout.event,
      time,
      vcpu: vcpu === 0n ? null : Number(vcpu) - 1,
      dropped: Number(dropped),
      args,
    } as unknown as TraceRecord)
  }
  return records
}

function value(type: TraceArgType, word: bigint, texts: readonly string[]): unknown {
  switch (type) {
    case 'u64':
      return word
    case 'i32':
      return Number(BigInt.asIntN(64, word))
    case 'bool':
      return word !== 0n
    case 'text':
      return texts[Number(word)] ?? ''
    default:
      return Number(word)
  }
}
