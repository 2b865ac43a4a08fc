import type { traceEvents } from './events.js'

/** What JavaScript makes of an argument's type. */
interface Values {
  readonly u16: number
  readonly u32: number
  readonly i32: number
  readonly u64: bigint
  readonly bool: boolean
  readonly text: string
}

/** The type of an argument, as the table of events names it. */
export type TraceArgType = keyof Values

/** The name of a trace event. */
export type TraceEventName = keyof typeof traceEvents

type Args<Name extends TraceEventName> = {
  readonly [
    Arg in keyof (typeof traceEvents)[Name]['args']
  ]: (typeof traceEvents)[Name]['args'][Arg] extends TraceArgType
    ? Values[(typeof traceEvents)[Name]['args'][Arg]]
    : never
}

interface RecordOf<Name extends TraceEventName> {
  /** QEMU's name of the event, or one of ours. */
  readonly event: Name
  /** When it happened: CLOCK_MONOTONIC in nanoseconds, as `process.hrtime.bigint()`. */
  readonly time: bigint
  /** The vCPU whose thread told it; `null` for any other thread of the process. */
  readonly vcpu: number | null
  /** Records that were lost just before this one, because the limit already waited for the event loop. */
  readonly dropped: number
  /** By QEMU's names; what takes more than 32 bits is a `bigint`. */
  readonly args: Args<Name>
}

/** One thing that a machine did. `event` tells which, and with it the type of `args`. */
export type TraceRecord = { [Name in TraceEventName]: RecordOf<Name> }[TraceEventName]

/** The records that a glob gives: of one event where it is an event's name, else of any. */
export type TraceRecordOf<Glob extends string> = Glob extends TraceEventName
  ? Extract<TraceRecord, { readonly event: Glob }>
  : TraceRecord
