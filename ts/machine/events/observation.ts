import type { BindingMachine, BindingReply } from '../../native/binding.cjs'
import type { AccelProperties } from '../../properties/schema.js'
import { TraceStreams } from '../../trace/streams.js'
import type { MachineAccel } from './machine-accel.js'
import { readStatistics } from './read-statistics.js'
import type { KvmStatistics, MachineCounters } from './statistics.js'

/**
 * Counters, kernel statistics and trace records of one machine. None of them needs the control
 * thread.
 */
export class Observation {
  readonly traces: TraceStreams
  readonly #native: BindingMachine
  readonly #created: Extract<BindingReply, { kind: 'created' }>
  readonly #properties: AccelProperties

  constructor(
    native: BindingMachine,
    created: Extract<BindingReply, { kind: 'created' }>,
    properties: AccelProperties,
  ) {
    this.#native = native
    this.#created = created
    this.#properties = properties
    this.traces = new TraceStreams(native)
  }

  /** Returns the accelerator's properties and the state of notify exits. */
  accel(): MachineAccel {
    const { notifySupported: supported, notifyEnabled: enabled } = this.#created
    const total = this.#native.notifyTotals().reduce((sum, one) => sum + one, 0)
    const { notifyVmexit: policy, notifyWindow: window } = this.#properties
    return { ...this.#properties, notify: { policy, window, supported, enabled, total } }
  }

  /** Returns this package's own counters. */
  counters(): MachineCounters {
    return {
      exits: this.#native.exitCounts(),
      notify: this.#native.notifyTotals(),
      busLocks: this.#native.busLockTotals(),
    }
  }

  /** Reads the kernel's statistics. Returns undefined when the machine has ended. */
  kvmStatistics(): KvmStatistics | undefined {
    const read = readStatistics(this.#native)
    return read && { ...read, counters: this.counters() }
  }
}
