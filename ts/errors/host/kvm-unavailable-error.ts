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
 * - `no-virtualization`: the CPU does not offer VMX or SVM, or the firmware turned it off;
 * - `no-device`: the device's path does not lead to KVM;
 * - `no-permission`: the device exists and this user may not open it;
 * - `api-version`: the kernel speaks another version of the KVM API than 12;
 * - `no-external-buffers`: this runtime has no ArrayBuffers over native memory, which
 *   `kvm-accel/kvm` needs;
 * - `unknown`: none of these, see the message.
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
