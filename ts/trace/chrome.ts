import { exitReason } from './exit-reasons.js'
import { jsonArgs } from './json.js'
import type { TraceRecord } from './record.js'

/** The ioctl number of KVM_RUN. */
const KVM_RUN = 0xae80

/** The current activity of a vCPU's thread. */
interface Slice {
  readonly name: string
  readonly since: bigint
}

/**
 * Writes records in Chrome's trace format, which Perfetto and chrome://tracing open. Each vCPU is a
 * track. Its slices are the time in the guest, and the time in user space, named after the exit.
 * Other events are marks. The text is complete after {@linkcode ChromeTrace.end}; readers also
 * accept a text without that end.
 */
export class ChromeTrace {
  readonly #slices = new Map<number, Slice>()
  readonly #threads = new Set<number>()
  #start: bigint | undefined

  /** Returns the text for a record. It is often empty, because a slice is written when it ends. */
  record(record: TraceRecord): string {
    const begin = this.#start === undefined ? '[\n' : ''
    this.#start ??= record.time
    const thread = record.vcpu === null ? 0 : record.vcpu + 1
    const known = this.#threads.has(thread)
    this.#threads.add(thread)
    const named = known
      ? ''
      : this.#metadata('thread_name', thread, record.vcpu === null ? 'machine' : `CPU ${record.vcpu}/KVM`)
    const lost = record.dropped > 0 ? this.#mark('dropped', thread, record.time, { records: record.dropped }) : ''
    return begin + named + lost + this.#body(record, thread)
  }

  /** Returns the end of the text. */
  end(): string {
    const begin = this.#start === undefined ? '[\n' : ''
    return `${begin}${this.#metadata('process_name', 0, 'kvm-accel').slice(0, -2)}\n]\n`
  }

  #body(record: TraceRecord, thread: number): string {
    if (record.vcpu !== null) {
      switch (record.event) {
        case 'kvm_vcpu_ioctl':
          if (record.args.type === KVM_RUN) return this.#turn(thread, { name: 'guest', since: record.time })
          break
        case 'kvm_run_exit':
          return this.#turn(thread, { name: exitReason(record.args.reason), since: record.time })
        case 'kvm_io_window_exit':
          return this.#turn(thread, { name: 'interrupted', since: record.time })
        case 'kvm_destroy_vcpu':
          return this.#turn(thread, undefined, record.time)
      }
    }
    return this.#mark(record.event, thread, record.time, jsonArgs(record.args))
  }

  /** Ends the thread's slice where the next slice begins. */
  #turn(thread: number, next: Slice | undefined, at = next?.since ?? 0n): string {
    const slice = this.#slices.get(thread)
    if (next) this.#slices.set(thread, next)
    else this.#slices.delete(thread)
    if (!slice) return ''
    const dur = Number(at - slice.since) / 1000
    return this.#line({
      name: slice.name,
      cat: slice.name === 'guest' ? 'guest' : 'user',
      ph: 'X',
      ts: this.#us(slice.since),
      dur,
      pid: 1,
      tid: thread,
    })
  }

  #mark(name: string, thread: number, time: bigint, args: object): string {
    return this.#line({ name, ph: 'i', s: 't', ts: this.#us(time), pid: 1, tid: thread, args })
  }

  #metadata(what: string, thread: number, name: string): string {
    return this.#line({ name: what, ph: 'M', pid: 1, tid: thread, args: { name } })
  }

  /**
   * Converts a time to microseconds since the first record. The number is small enough to keep the
   * nanoseconds.
   */
  #us(time: bigint): number {
    return Number(time - (this.#start ?? time)) / 1000
  }

  #line(event: object): string {
    return `${JSON.stringify(event)},\n`
  }
}
