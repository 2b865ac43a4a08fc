import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/**
 * An accelerator is unknown or not part of this package, or no accelerator of a fallback list is
 * usable.
 */
export class AcceleratorError extends KvmAccelError {
  override readonly name = 'AcceleratorError'
  declare readonly code: 'ERR_ACCELERATOR'
  /** The name that was given. */
  readonly accelerator: string

  constructor(message: string, details: ErrorDetails & { readonly accelerator: string }) {
    super('ERR_ACCELERATOR', message, details)
    this.accelerator = details.accelerator
  }
}
