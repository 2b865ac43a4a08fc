import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** An option of a machine does not exist, or does not accept the value. */
export class MachineConfigError extends KvmAccelError {
  override readonly name = 'MachineConfigError'
  declare readonly code: 'ERR_MACHINE_CONFIG'
  /** The option by its name in `MachineOptions`. */
  readonly option: string

  constructor(message: string, details: ErrorDetails & { readonly option: string }) {
    super('ERR_MACHINE_CONFIG', message, details)
    this.option = details.option
  }
}
