import { exitReason } from './exit-reasons.js'
import { jsonArgs } from './json.js'
import type { TraceRecord } from './record.js'

/** KVM_RUN's number. */
const KVM_RUN = 0xae80

/** What a vCPU's thread is at. */
interface Slice {
  readonly name: string
  readonly since: bigint
}

/**
 * Writes records in Chrome's trace format, which Perfetto and chrome://tracing open: a track for each vCPU, on which time in the guest and time
 * in user space, named after the exit, are slices. Other events are marks. The text is complete after {@linkcode ChromeTrace.end}, and
 * readers forgive its lack.
 */
export class ChromeTrace {
  readonly #slices = new Map<number, Slice>()
  readonly #threads = new Set<number>()
  #start: bigint | undefined

  /** What to write for a record; often nothing, because a slice is written at its end. */
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

  /** The end of the text. */
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

  /** Ends the thread's slice where the next one begins. */
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

  /** Microseconds since the first record: small enough to keep the nanoseconds. */
  #us(time: bigint): number {
    return Number(time - (this.#start ?? time)) / 1000
  }

  #line(event: object): string {
    return `${JSON.stringify(event)},\n`
  }
}
