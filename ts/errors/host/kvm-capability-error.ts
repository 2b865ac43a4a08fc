import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** The kernel lacks a capability that the accelerator or a requested feature requires. */
export class KvmCapabilityError extends KvmAccelError {
  override readonly name = 'KvmCapabilityError'
  declare readonly code: 'ERR_KVM_CAPABILITY'
  /** The kernel's name, `KVM_CAP_…`. */
  readonly capability: string

  constructor(message: string, details: ErrorDetails & { readonly capability: string }) {
    super('ERR_KVM_CAPABILITY', message, details)
    this.capability = details.capability
  }
}
