import type { DebugEvent } from './debug-event.js'
import type { MachineWarning } from '../../errors/operation/warning.js'
import type { BusLockEvent } from './bus-lock-event.js'
import type { NotifyEvent } from './notify-event.js'
import type { Exit } from './exit.js'
import type { RunState } from '../../errors/operation/run-state.js'

/** The machine left the state `running`. */
export interface StopEvent {
  /** The new run state. */
  readonly state: RunState
  /** How the machine ended; absent after a pause and a debug stop. */
  readonly exit?: Exit
}

/** A handler of a device or an MSR in JavaScript failed. */
export interface DeviceErrorEvent {
  /** The name of the device; for an MSR such as `MSR 0x1234`. */
  readonly device: string
  /** What the handler threw, or why its answer is invalid. */
  readonly error: unknown
}

/** Events of a {@linkcode Machine}, emitted in the order in which they happened. */
export interface MachineEventMap {
  /**
   * A notify VM exit, real or injected. At most 1024 events wait for the event loop; `dropped`
   * counts the events that did not fit.
   */
  notify: [NotifyEvent]
  /** A breakpoint, a watchpoint or a step stopped the machine; follows `stop`. */
  debug: [DebugEvent]
  /**
   * A bus lock, with option `busLockRatelimit`. These events wait and are dropped as `notify`
   * events are.
   */
  'bus-lock': [BusLockEvent]
  /** The machine left the state `running` (QEMU's `STOP`). */
  stop: [StopEvent]
  /** The machine entered the state `running` (QEMU's `RESUME`). */
  resume: []
  /**
   * The machine was reset (QEMU's `RESET`). `guest` is true when the guest requested the reset. At
   * most 1024 resets by the guest wait.
   */
  reset: [{ readonly guest: boolean }]
  /** The machine ended (QEMU's `SHUTDOWN`). */
  shutdown: [{ readonly reason: Exit['reason'] }]
  /**
   * A handler of a device or an MSR in JavaScript failed. Unless the device has `onError:
   * 'all-ones'`, the machine ends, and {@linkcode Machine.wait} resolves with the same error.
   * Without a listener and without a call of `wait()`, that error is a warning of the process.
   */
  'device-error': [DeviceErrorEvent]
  /** A warning for the user. */
  warning: [MachineWarning]
}
