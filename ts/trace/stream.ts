import type { BindingTraceSession } from '../native/binding.cjs'
import { decodeRecords } from './decode.js'
import type { TraceRecord } from './record.js'

/** Milliseconds between a record and its reader: a reader that came for each would cost the guest a system call at each. */
const GATHER = 10

/**
 * Records of a machine, in the order of their times. A machine never waits for whoever reads: what does not fit is dropped and
 * counted. Ends with the machine, when what was recorded before has been read.
 */
export class TraceStream<R extends TraceRecord = TraceRecord> implements AsyncIterableIterator<
  R,
  undefined,
  undefined
> {
  readonly #session: BindingTraceSession
  readonly #closed: (stream: TraceStream) => void
  #records: R[] = []
  #at = 0
  #dropped = 0
  #waiting: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined
  #ended = false

  /** @internal Use {@linkcode Machine.trace}. */
  constructor(session: BindingTraceSession, closed: (stream: TraceStream) => void) {
    this.#session = session
    this.#closed = closed
  }

  /** Records that were lost so far, because the limit already waited. */
  get dropped(): number {
    return this.#dropped
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** The next record. */
  async next(): Promise<IteratorResult<R, undefined>> {
    for (;;) {
      const value = this.#records[this.#at]
      if (value !== undefined) {
        this.#at++
        return { done: false, value }
      }
      // Asked before taking: the last records come before the end.
      const ended = this.#ended
      if (this.#take()) continue
      if (ended) return this.return()
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  /** Ends the recording; what was not read is lost. */
  async return(): Promise<IteratorResult<R, undefined>> {
    this.#session.close()
    this.#closed(this as unknown as TraceStream)
    this.#records = []
    this.#at = 0
    this.end()
    return { done: true, value: undefined }
  }

  /** @internal There may be records. They are left to gather for a moment: the machine tells only of the first that waits. */
  wake(): void {
    if (this.#waiting.length > 0) this.#timer ??= setTimeout(() => this.#resolve(), GATHER)
  }

  /** @internal The machine has ended: nothing will be recorded any more. */
  end(): void {
    this.#ended = true
    this.#resolve()
  }

  #resolve(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  #take(): boolean {
    const taken = this.#session.take()
    this.#records = decodeRecords(taken) as R[]
    this.#at = 0
    this.#dropped = taken.dropped
    return this.#records.length > 0
  }
}
