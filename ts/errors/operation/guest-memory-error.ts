import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/**
 * An address of guest memory is unavailable: the guest's page tables do not map it, or it is not
 * RAM.
 */
export class GuestMemoryError extends KvmAccelError {
  override readonly name = 'GuestMemoryError'
  declare readonly code: 'ERR_GUEST_MEMORY'
  /** The first unavailable address. */
  readonly address: bigint

  constructor(message: string, details: ErrorDetails & { readonly address: bigint }) {
    super('ERR_GUEST_MEMORY', message, details)
    this.address = details.address
  }
}
