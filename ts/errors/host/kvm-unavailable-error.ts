import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** The reasons why KVM is unavailable, in the order in which they are checked. */
export const unavailableReasons = [
  'unsupported-platform',
  'unsupported-runtime',
  'no-binary',
  'container',
  'no-virtualization',
  'no-device',
  'no-permission',
  'api-version',
  'no-external-buffers',
  'unknown',
] as const

/**
 * Why KVM is unavailable:
 * - `unsupported-platform`: not Linux on x86-64;
 * - `unsupported-runtime`: the program runs on Bun, which cannot run a {@linkcode Machine};
 * - `no-binary`: the native addon of the package is not installed;
 * - `container`: the container does not have the device;
 * - `no-virtualization`: the CPU does not support VMX or SVM, or the firmware disabled it;
 * - `no-device`: the device does not exist, or is not a KVM device;
 * - `no-permission`: the device exists, but this user lacks the permission to open it;
 * - `api-version`: the version of the kernel's KVM API is not 12;
 * - `no-external-buffers`: this runtime does not support ArrayBuffers over native memory, which
 *   `kvm-accel/kvm` needs;
 * - `unknown`: another reason, which the message states.
 */
export type UnavailableReason = (typeof unavailableReasons)[number]

/** KVM is unavailable on this host or to this process. */
export class KvmUnavailableError extends KvmAccelError {
  override readonly name = 'KvmUnavailableError'
  declare readonly code: 'ERR_KVM_UNAVAILABLE'
  /** The reason, for programs. */
  readonly reason: UnavailableReason

  constructor(message: string, details: ErrorDetails & { readonly reason: UnavailableReason }) {
    super('ERR_KVM_UNAVAILABLE', message, details)
    this.reason = details.reason
  }
}
