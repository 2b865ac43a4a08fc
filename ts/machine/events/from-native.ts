// From the addon's plain data to the public types.

import type { DebugEvent } from '../debug/breakpoint.js'
import type { BusLockEvent } from './bus-lock-event.js'
import type { NotifyEvent } from './notify-event.js'
import type { MachineWarning } from '../../errors/operation/warning.js'
import type { BindingDebugStop, BindingEvent } from '../../native/binding.cjs'

/** The public form of a notify exit. */
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

/** The public form of a stop at a breakpoint or after a step. Its reason is one of the accelerator's, which the public type lists. */
export const debugEvent = ({ vcpu, reason, address, rip }: BindingDebugStop): DebugEvent => ({
  vcpu,
  reason: reason as DebugEvent['reason'],
  address,
  rip,
})

/** The public form of a bus lock. */
export const busLockEvent = ({ registers, ...event }: Extract<BindingEvent, { kind: 'bus-lock' }>): BusLockEvent => ({
  vcpu: event.vcpu,
  rip: registers.rip,
  instruction: event.instruction,
  registers,
  total: event.total,
  throttled: event.throttled,
  dropped: event.dropped,
})

/** The public form of a warning. Its code is one of the accelerator's, which the public type lists. */
export const warning = ({ code, message }: Extract<BindingEvent, { kind: 'warning' }>): MachineWarning => ({
  code: code as MachineWarning['code'],
  message,
})
