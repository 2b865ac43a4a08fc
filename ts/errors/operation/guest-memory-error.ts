import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** Guest memory that cannot be reached: its page tables do not map it, or no RAM is there. */
export class GuestMemoryError extends KvmAccelError {
  override readonly name = 'GuestMemoryError'
  declare readonly code: 'ERR_GUEST_MEMORY'
  /** The first such address. */
  readonly address: bigint

  constructor(message: string, details: ErrorDetails & { readonly address: bigint }) {
    super('ERR_GUEST_MEMORY', message, details)
    this.address = details.address
  }
}
