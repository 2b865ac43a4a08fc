import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** A call on an object of `kvm-accel/kvm` that has been closed. */
export class KvmClosedError extends KvmAccelError {
  override readonly name = 'KvmClosedError'
  declare readonly code: 'ERR_KVM_CLOSED'
  /** The class of the object: `Kvm`, `Vm`, `Vcpu`, `Device` or `EventFd`. */
  readonly object: string

  constructor(message: string, details: ErrorDetails & { readonly object: string }) {
    super('ERR_KVM_CLOSED', message, details)
    this.object = details.object
  }
}
