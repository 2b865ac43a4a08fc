import { EventEmitter } from 'node:events'
import type { MachineStateError } from '../errors/machine-state-error.js'
import type { AccelProperties } from '../properties/types.js'
import type { BindingMachine } from '../native/binding.cjs'
import { readStatistics } from '../native/statistics.js'
import type { TraceRecordOf } from '../trace/record.js'
import type { TraceStream } from '../trace/stream.js'
import { TraceStreams, type TraceOptions } from '../trace/streams.js'
import type { Reply } from './control.js'
import type { MachineEventMap } from './events.js'
import type { MachineAccel } from './machine-accel.js'
import type { MachineStatistics, MachineStats } from './statistics.js'
import { Watch } from './watch.js'

/** What a machine tells of itself in every run state: properties, counters, the kernel's statistics, trace records. */
export abstract class ObservedMachine extends EventEmitter<MachineEventMap> {
  /**
   * The records of the events that option `trace` named, from the first ioctl on: the machine's making included. `null` without the option.
   * At most 65536 records wait.
   */
  readonly startTrace: TraceStream | null
  /** @internal Whoever reads trace records. */
  protected readonly traces: TraceStreams
  readonly #native: BindingMachine
  readonly #created: Reply<'created'>
  readonly #properties: AccelProperties

  /** @internal */
  protected constructor(native: BindingMachine, created: Reply<'created'>, properties: AccelProperties) {
    super()
    this.#created = created
    this.#native = native
    this.#properties = properties
    this.traces = new TraceStreams(native)
    this.startTrace = this.traces.start
  }

  /**
   * Whether there still is something to read.
   *
   * @internal
   * @throws {@linkcode MachineStateError} when the machine has ended.
   */
  protected abstract alive(operation: string): void

  /** @internal What a call of a machine that has ended throws. */
  protected abstract endedError(operation: string): MachineStateError

  /** @internal Resolves when the machine has ended. */
  protected abstract over(): Promise<unknown>

  /** The accelerator's properties, and what became of them on this host. */
  get accel(): MachineAccel {
    const { notifySupported: supported, notifyEnabled: enabled } = this.#created
    const total = this.#native.notifyTotals().reduce((sum, one) => sum + one, 0)
    const { notifyVmexit: policy, notifyWindow: window } = this.#properties
    return { ...this.#properties, notify: { policy, window, supported, enabled, total } }
  }

  /** Counters, also of a machine that has ended. */
  stats(): MachineStats {
    return {
      exits: this.#native.exitCounts(),
      notify: this.#native.notifyTotals(),
      busLocks: this.#native.busLockTotals(),
    }
  }

  /**
   * What the kernel counts for this machine and each of its vCPUs, by the kernel's names, in every run state and without stopping
   * the guest: `machine.statistics().vcpus[0]?.exits?.value`.
   *
   * @throws {@linkcode MachineStateError} when the machine has ended (our own count in {@linkcode Machine.stats} stays).
   * @throws {@linkcode KvmCapabilityError} on kernels before Linux 5.14, which have no such statistics.
   * @throws {@linkcode KvmAccelError} with code `ERR_KVM_STATS` when the kernel's description of them cannot be.
   */
  statistics(): MachineStatistics {
    const statistics = this.#statistics()
    if (!statistics) throw this.endedError('statistics')
    return statistics
  }

  /**
   * {@linkcode Machine.statistics} now and then every `interval` milliseconds, until the machine has ended. A reader that comes late
   * gets the numbers of then. Leaving the loop stops the timer.
   *
   * @param interval Milliseconds, 1 to 2^31 - 1.
   * @throws RangeError for another interval. The iterator throws what {@linkcode Machine.statistics} throws.
   */
  watchStatistics(interval: number): AsyncIterableIterator<MachineStatistics, undefined> {
    return new Watch(() => this.#statistics(), interval, this.over())
  }

  /**
   * Records what the machine does from here on: the trace events whose names match a glob of `*` and `?`, or any of several. An event's name
   * alone gives records of its type. docs/reference/trace.md lists the events; what happens before, while the machine is made, is in
   * {@linkcode Machine.startTrace}.
   *
   * @param globs Such as `'kvm_run_exit'` or `'kvm_*'`.
   * @throws RangeError for a glob that matches no event, or a limit out of range.
   * @throws {@linkcode MachineStateError} when the machine has ended.
   * @example
   * ```ts
   * import { Machine } from 'kvm-accel'
   *
   * await using machine = await Machine.create({ kernel: 'vmlinux' })
   * const exits = machine.trace('kvm_run_exit')
   * await machine.start()
   * for await (const { time, vcpu, args } of exits) console.log(time, vcpu, args.reason)
   * ```
   */
  trace<Glob extends string>(
    globs: Glob | readonly Glob[],
    options: TraceOptions = {},
  ): TraceStream<TraceRecordOf<Glob>> {
    this.alive('trace')
    return this.traces.open(globs, options)
  }

  #statistics(): MachineStatistics | undefined {
    const read = readStatistics(this.#native)
    return read && { ...read, counts: this.stats() }
  }
}
