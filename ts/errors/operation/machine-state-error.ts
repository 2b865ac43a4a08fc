import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'
import type { RunState } from './run-state.js'

/** A call is not allowed in the machine's run state. */
export class MachineStateError extends KvmAccelError {
  override readonly name = 'MachineStateError'
  declare readonly code: 'ERR_MACHINE_STATE'
  /** The run state of the machine at the call. */
  readonly state: RunState
  /** The run states that allow the call; empty once the machine has ended. */
  readonly allowed: readonly RunState[]

  constructor(
    message: string,
    details: ErrorDetails & { readonly state: RunState; readonly allowed: readonly RunState[] },
  ) {
    super('ERR_MACHINE_STATE', message, details)
    this.state = details.state
    this.allowed = details.allowed
  }
}
