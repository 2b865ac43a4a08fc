// Converts the addon's plain data to the public types.

import type { MachineWarning } from '../../errors/operation/warning.js'
import type { BindingDebugStop, BindingEvent, BindingExit } from '../../native/binding.cjs'
import type { BusLockEvent } from './bus-lock-event.js'
import type { DebugEvent } from './debug-event.js'
import type { Exit } from './exit.js'
import type { NotifyEvent } from './notify-event.js'

/** Converts a notify exit. */
export const notifyEvent = (event: Extract<BindingEvent, { kind: 'notify' }>): NotifyEvent => ({
  vcpu: event.vcpu,
  rip: event.registers.rip,
  instruction: event.instruction,
  registers: event.registers,
  contextInvalid: event.contextInvalid,
  resumed: event.resumed,
  total: event.total,
  injected: event.injected,
  dropped: event.dropped,
})

/**
 * Converts a stop at a breakpoint or after a step. The public type lists every reason that the
 * accelerator has.
 */
export const debugEvent = ({ vcpu, reason, address, rip }: BindingDebugStop): DebugEvent => ({
  vcpu,
  reason: reason as DebugEvent['reason'],
  address,
  rip,
})

/** Converts a bus lock. */
export const busLockEvent = ({ registers, ...event }: Extract<BindingEvent, { kind: 'bus-lock' }>): BusLockEvent => ({
  vcpu: event.vcpu,
  rip: registers.rip,
  instruction: event.instruction,
  registers,
  total: event.total,
  throttled: event.throttled,
  dropped: event.dropped,
})

/** Converts a warning. The public type lists every code that the accelerator has. */
export const warning = ({ code, message }: Extract<BindingEvent, { kind: 'warning' }>): MachineWarning => ({
  code: code as MachineWarning['code'],
  message,
})

/** Converts how a machine ended. The public type lists every reason that the control thread has. */
export const exitOf = ({ reason, status, detail, report }: BindingExit): Exit => ({
  reason: reason as Exit['reason'],
  ...(status === undefined ? {} : { status }),
  ...(detail === undefined ? {} : { detail }),
  ...(report === undefined ? {} : { report }),
})
