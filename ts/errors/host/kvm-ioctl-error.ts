import { getSystemErrorName } from 'node:util'
import { KvmAccelError, type ErrorDetails } from '../kvm-accel-error.js'

/** The kernel refused an ioctl. */
export class KvmIoctlError extends KvmAccelError {
  override readonly name = 'KvmIoctlError'
  declare readonly code: 'ERR_KVM_IOCTL'
  /** The ioctl by the kernel's name, for example `KVM_CREATE_VM`. */
  readonly ioctl: string
  /** The kernel's error number, positive. */
  readonly errno: number
  /** Its name, for example `EINVAL`. */
  readonly errnoName: string

  constructor(
    message: string,
    details: ErrorDetails & { readonly ioctl: string; readonly errno: number; readonly errnoName?: string | undefined },
  ) {
    super('ERR_KVM_IOCTL', message, details)
    this.ioctl = details.ioctl
    this.errno = details.errno
    this.errnoName = details.errnoName ?? errnoName(details.errno)
  }
}

/** The name of an error number, or the number when this system does not know it. */
function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno)
  } catch {
    return `errno ${errno}`
  }
}
