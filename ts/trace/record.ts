import type { traceEvents } from './events.js'

/** The JavaScript type of each argument type. */
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
  /** QEMU's name of the event, or kvm-accel's own name. */
  readonly event: Name
  /** The time of the event: CLOCK_MONOTONIC in nanoseconds, as `process.hrtime.bigint()`. */
  readonly time: bigint
  /** The vCPU whose thread recorded the event; `null` for any other thread of the process. */
  readonly vcpu: number | null
  /**
   * The number of records that were lost immediately before this one, because `limit` records
   * already waited for the event loop.
   */
  readonly dropped: number
  /** The arguments by QEMU's names. An argument of more than 32 bits is a `bigint`. */
  readonly args: Args<Name>
}

/** A trace record. `event` determines the type of `args`. */
export type TraceRecord = { [Name in TraceEventName]: RecordOf<Name> }[TraceEventName]

/**
 * The type of the records that a glob selects: of one event if the glob is an event's name, else of
 * any event.
 */
export type TraceRecordOf<Glob extends string> = Glob extends TraceEventName
  ? Extract<TraceRecord, { readonly event: Glob }>
  : TraceRecord
