import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** `notify-required=on` on a host whose KVM has no KVM_CAP_X86_NOTIFY_VMEXIT (219). */
export class NotifyUnsupportedError extends KvmAccelError {
  override readonly name = 'NotifyUnsupportedError'
  declare readonly code: 'ERR_NOTIFY_UNSUPPORTED'

  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_NOTIFY_UNSUPPORTED', message, details)
  }
}
