import type { BindingTraceSession } from '../native/binding.cjs'
import { decodeRecords } from './decode.js'
import type { TraceRecord } from './record.js'

/**
 * Milliseconds between a record and the wake-up of its reader. Waking the reader for each record
 * would cost the guest a system call for each.
 */
const GATHER = 10

/**
 * The trace records of a machine, in the order of their times. A machine never waits for a reader:
 * records beyond the limit are dropped and counted. The stream ends after the machine has ended and
 * the reader has read all records.
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

  /** The number of records lost so far, because the limit was reached. */
  get dropped(): number {
    return this.#dropped
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Resolves with the next record. */
  async next(): Promise<IteratorResult<R, undefined>> {
    for (;;) {
      const value = this.#records[this.#at]
      if (value !== undefined) {
        this.#at++
        return { done: false, value }
      }
      // Read before the records are taken: the last records arrive before the end.
      const ended = this.#ended
      if (this.#take()) continue
      if (ended) return this.return()
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  /** Ends the recording. Records that were not read are lost. */
  async return(): Promise<IteratorResult<R, undefined>> {
    this.#session.close()
    this.#closed(this as unknown as TraceStream)
    this.#records = []
    this.#at = 0
    this.end()
    return { done: true, value: undefined }
  }

  /**
   * @internal Records may be available. Waits for {@linkcode GATHER} milliseconds, so that more
   * records gather: the machine notifies only of the first waiting record.
   */
  wake(): void {
    if (this.#waiting.length > 0) this.#timer ??= setTimeout(() => this.#resolve(), GATHER)
  }

  /** @internal The machine has ended and records no more events. */
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
