import type { DebugEvent } from './debug-event.js'
import type { MachineWarning } from '../../errors/operation/warning.js'
import type { BusLockEvent } from './bus-lock-event.js'
import type { NotifyEvent } from './notify-event.js'
import type { Exit } from './exit.js'
import type { RunState } from '../../errors/operation/run-state.js'

/** The machine left the state `running`. */
export interface StopEvent {
  /** The state it is in now. */
  readonly state: RunState
  /** How it ended, unless it was paused. */
  readonly exit?: Exit
}

/** Events of a {@linkcode Machine}. They come in the order in which they happened. */
export interface MachineEventMap {
  /** A notify VM exit, real or injected. At most 1024 wait for the event loop; `dropped` counts what did not fit. */
  notify: [NotifyEvent]
  /** A breakpoint, a watchpoint or a step stopped the machine; follows `stop`. */
  debug: [DebugEvent]
  /** A bus lock, with option `busLockRatelimit`. They wait and are dropped as notify events are. */
  'bus-lock': [BusLockEvent]
  /** The machine left the state `running` (QEMU's `STOP`). */
  stop: [StopEvent]
  /** The machine entered the state `running` (QEMU's `RESUME`). */
  resume: []
  /** The machine was reset; `guest` tells who asked (QEMU's `RESET`). Of a guest that resets itself over and over, at most 1024 wait. */
  reset: [{ readonly guest: boolean }]
  /** The machine ended (QEMU's `SHUTDOWN`). */
  shutdown: [{ readonly reason: Exit['reason'] }]
  /** Something a user should read. */
  warning: [MachineWarning]
}
