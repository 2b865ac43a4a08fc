// The types of accelerator properties. Compiled, never run.

import {
  resolveAccelerators,
  type AccelInput,
  type AccelOptions,
  type AccelProperties,
  type MachineOptions,
  type NotifyBudget,
  type ResolvedAccelerators,
} from 'kvm-accel'
import type { Equal, Expect, WritableKeys } from './expect.js'

export type Input = [
  Expect<Equal<NonNullable<MachineOptions['accel']>, AccelInput>>,
  Expect<Equal<AccelInput, string | AccelOptions | readonly (string | AccelOptions)[]>>,
  Expect<Equal<WritableKeys<AccelOptions>, never>>,
  // Every member of an object is optional.
  Expect<object extends AccelOptions ? true : false>,
]

export type NormalForm = [
  Expect<Equal<WritableKeys<AccelProperties>, never>>,
  // Every member is set, and an absent value is null.
  Expect<Equal<AccelProperties, Required<AccelProperties>>>,
  Expect<Equal<keyof AccelProperties, keyof AccelOptions | 'notifyAsked'>>,
  Expect<Equal<AccelProperties['notifyVmexit'], 'run' | 'internal-error' | 'disable'>>,
  Expect<Equal<AccelProperties['kernelIrqchip'], 'on' | 'off' | 'split'>>,
  Expect<Equal<AccelProperties['kvmShadowMem'], number | null>>,
  Expect<Equal<AccelProperties['notifyBudget'], NotifyBudget | null>>,
  Expect<Equal<ReturnType<typeof resolveAccelerators>, ResolvedAccelerators>>,
]

export const accepted: readonly AccelInput[] = [
  'kvm',
  {},
  { notifyVmexit: 'internal-error', notifyWindow: 0, notifyBudget: '10/60' },
  ['tcg', { notifyVmexit: 'run' }] as const,
]

export const refused: readonly AccelInput[] = [
  // @ts-expect-error: QEMU's spelling is valid in a text only
  { 'notify-vmexit': 'run' },
  // @ts-expect-error: an unknown policy
  { notifyVmexit: 'stop' },
  // @ts-expect-error: a window must be a number of cycles
  { notifyWindow: '5' },
]
