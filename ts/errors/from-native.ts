import { AccelPropertyError } from './options/accel-property-error.js'
import { AcceleratorError } from './options/accelerator-error.js'
import { BreakpointError, breakpointProblems } from './operation/breakpoint-error.js'
import { GuestImageError, guestImageProblems } from './options/guest-image-error.js'
import { GuestMemoryError } from './operation/guest-memory-error.js'
import { KvmAccelError, type ErrorDetails } from './kvm-accel-error.js'
import { KvmCapabilityError } from './host/kvm-capability-error.js'
import { KvmIoctlError } from './host/kvm-ioctl-error.js'
import { KvmUnavailableError, unavailableReasons } from './host/kvm-unavailable-error.js'
import { MachineConfigError } from './options/machine-config-error.js'
import { MachineStateError } from './operation/machine-state-error.js'
import { NotifyUnsupportedError } from './host/notify-unsupported-error.js'
import { VsockError, vsockProblems } from './operation/vsock-error.js'
import { runStates } from './operation/run-state.js'

/**
 * An error as the addon returns it: plain data. Beside code and message it has the fields of its
 * class.
 */
export interface NativeError {
  readonly code: string
  readonly message: string
  readonly remedy?: string | null | undefined
  readonly reason?: string | null | undefined
  readonly ioctl?: string | null | undefined
  readonly errno?: number | null | undefined
  readonly errnoName?: string | null | undefined
  readonly capability?: string | null | undefined
  readonly property?: string | null | undefined
  readonly value?: string | null | undefined
  readonly accelerator?: string | null | undefined
  readonly image?: string | null | undefined
  readonly problem?: string | null | undefined
  readonly address?: bigint | null | undefined
  readonly option?: string | null | undefined
  readonly state?: string | null | undefined
  readonly allowed?: readonly string[] | null | undefined
}

/**
 * Creates an error of the class that belongs to the code. A code without a class gives the base
 * class.
 */
export function fromNative(data: NativeError, cause?: unknown): KvmAccelError {
  const { code, message } = data
  const details: ErrorDetails = { remedy: data.remedy ?? undefined, cause }
  switch (code) {
    case 'ERR_KVM_UNAVAILABLE':
      return new KvmUnavailableError(message, {
        ...details,
        reason: oneOf(unavailableReasons, data.reason) ?? 'unknown',
      })
    case 'ERR_KVM_IOCTL':
      return new KvmIoctlError(message, {
        ...details,
        ioctl: data.ioctl ?? '',
        errno: data.errno ?? 0,
        errnoName: data.errnoName ?? undefined,
      })
    case 'ERR_KVM_CAPABILITY':
      return new KvmCapabilityError(message, { ...details, capability: data.capability ?? '' })
    case 'ERR_NOTIFY_UNSUPPORTED':
      return new NotifyUnsupportedError(message, details)
    case 'ERR_ACCEL_PROPERTY':
      return new AccelPropertyError(message, {
        ...details,
        property: data.property ?? '',
        value: data.value ?? undefined,
      })
    case 'ERR_ACCELERATOR':
      return new AcceleratorError(message, { ...details, accelerator: data.accelerator ?? '' })
    case 'ERR_GUEST_IMAGE':
      return new GuestImageError(message, {
        ...details,
        image: data.image === 'initrd' || data.image === 'firmware' ? data.image : 'kernel',
        problem: oneOf(guestImageProblems, data.problem) ?? 'malformed',
      })
    case 'ERR_BREAKPOINT':
      return new BreakpointError(message, {
        ...details,
        problem: oneOf(breakpointProblems, data.problem) ?? 'unsupported',
      })
    case 'ERR_VSOCK':
      return new VsockError(message, { ...details, problem: oneOf(vsockProblems, data.problem) ?? 'refused' })
    case 'ERR_GUEST_MEMORY':
      return new GuestMemoryError(message, { ...details, address: data.address ?? 0n })
    case 'ERR_MACHINE_CONFIG':
      return new MachineConfigError(message, { ...details, option: data.option ?? '' })
    case 'ERR_MACHINE_STATE':
      return new MachineStateError(message, {
        ...details,
        state: oneOf(runStates, data.state) ?? 'shutdown',
        allowed: runStates.filter(state => data.allowed?.includes(state)),
      })
    default:
      return new KvmAccelError(code, message, details)
  }
}

function oneOf<const T extends string>(known: readonly T[], value: string | null | undefined): T | undefined {
  return known.find(candidate => candidate === value)
}
