import { ArgumentError, checkWhole } from '../errors/operation/argument-error.js'
import type { BindingMachine, BindingTraceSession } from '../native/binding.cjs'
import { matchesNothing } from './glob.js'
import type { TraceRecord, TraceRecordOf } from './record.js'
import { TraceStream } from './stream.js'

/** The default of {@link TraceOptions.limit}. */
const LIMIT = 65_536
const MOST = 2 ** 20

/** Options of {@link Machine.trace}. */
export interface TraceOptions {
  /**
   * The maximum number of records that wait for the reader, 1 to 2^20. Further records are dropped
   * and counted.
   *
   * @default 65536
   */
  readonly limit?: number | undefined
}

/** The readers of a machine's trace records. */
export class TraceStreams {
  readonly #native: BindingMachine
  readonly #streams = new Set<{ wake(): void; end(): void }>()
  /** The records from the start of the machine's creation on, if option `trace` was given. */
  readonly start: TraceStream | null

  constructor(native: BindingMachine) {
    this.#native = native
    const session = native.takeStartTrace()
    this.start = session && this.#stream(session)
  }

  open<Glob extends string>(
    globs: Glob | readonly Glob[],
    { limit = LIMIT }: TraceOptions,
  ): TraceStream<TraceRecordOf<Glob>> {
    const list: readonly string[] = typeof globs === 'string' ? [globs] : globs
    for (const glob of list) {
      const problem = matchesNothing(glob)
      if (problem !== undefined)
        throw new ArgumentError(problem, { argument: 'globs', remedy: 'docs/reference/trace.md lists the events.' })
    }
    checkWhole('limit', limit, 1, MOST, 'records')
    return this.#stream<TraceRecordOf<Glob>>(this.#native.openTrace([...list], limit))
  }

  /** Wakes the readers: records may be available. */
  wake(): void {
    for (const stream of this.#streams) stream.wake()
  }

  /** Ends the streams: the machine has ended. */
  end(): void {
    for (const stream of this.#streams) stream.end()
  }

  #stream<R extends TraceRecord>(session: BindingTraceSession): TraceStream<R> {
    const stream = new TraceStream<R>(session, () => this.#streams.delete(stream))
    this.#streams.add(stream)
    return stream
  }
}
