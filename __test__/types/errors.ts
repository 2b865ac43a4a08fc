// The types of errors. Compiled, never run.

import {
  AcceleratorError,
  AccelPropertyError,
  BreakpointError,
  GuestImageError,
  GuestMemoryError,
  KvmAccelError,
  KvmCapabilityError,
  KvmIoctlError,
  KvmUnavailableError,
  MachineConfigError,
  MachineStateError,
  NotifyUnsupportedError,
  OptionError,
  VsockError,
  type GuestImageKind,
  type GuestImageProblem,
  type RunState,
  type UnavailableReason,
} from 'kvm-accel'
import type { Equal, Expect } from './expect.js'

type Any =
  | AcceleratorError
  | AccelPropertyError
  | BreakpointError
  | GuestImageError
  | GuestMemoryError
  | KvmCapabilityError
  | KvmIoctlError
  | KvmUnavailableError
  | MachineConfigError
  | MachineStateError
  | NotifyUnsupportedError
  | OptionError
  | VsockError

export type Errors = [
  Expect<Any extends KvmAccelError ? true : false>,
  Expect<Equal<KvmAccelError['code'], string>>,
  Expect<Equal<KvmAccelError['remedy'], string | undefined>>,
  Expect<Equal<KvmUnavailableError['reason'], UnavailableReason>>,
  Expect<
    Equal<
      Pick<KvmIoctlError, 'ioctl' | 'errno' | 'errnoName'>,
      Readonly<{ ioctl: string; errno: number; errnoName: string }>
    >
  >,
  Expect<
    Equal<Pick<GuestImageError, 'image' | 'problem'>, Readonly<{ image: GuestImageKind; problem: GuestImageProblem }>>
  >,
  Expect<Equal<MachineStateError['allowed'], readonly RunState[]>>,
]

export function messageOf(error: unknown): string {
  if (error instanceof AccelPropertyError) return error.property
  if (error instanceof MachineStateError) return error.state
  return error instanceof KvmAccelError ? (error.remedy ?? error.message) : 'not ours'
}
