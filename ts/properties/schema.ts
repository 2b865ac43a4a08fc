// The properties of `-accel kvm`, one entry for each.

import type { NormalOf, OptionsOf } from '../schema/entry.js'
import { parseInt64, parseUint32 } from '../schema/number.js'
import { parseSize } from '../schema/size.js'
import { badProperty, oneOf, property, wordProperty } from './property.js'
import type { KernelIrqchip, NotifyBudget, NotifyPolicy } from './types.js'

/** All properties. */
export const accelMembers = {
  /**
   * The interrupt controllers in the kernel: all of them (`on`), only the local APICs (`split`), or
   * none (`off`). The PIT is in the kernel with `on`. With `off` the machine has a PIC and a PIT, no
   * APIC, and one vCPU.
   *
   * @default 'on'
   */
  kernelIrqchip: wordProperty<KernelIrqchip>('kernel-irqchip', ['on', 'off', 'split'], 'on'),
  /**
   * Memory for shadow pages, in bytes; -1 leaves it to the kernel, whose minimum is 262144. The
   * object also accepts a size such as `'4M'`.
   *
   * @default -1
   */
  kvmShadowMem: property<number | string, number | null>(
    'kvm-shadow-mem',
    {
      takes: 'a number of bytes up to 2^53 - 1, a size, or -1',
      argument: 'BYTES',
      types: ['number', 'string'],
      parse: shadowMemory,
      format: value => {
        const size = typeof value === 'number' ? value : parseSize(value, 'B')
        return String(typeof size === 'number' ? size : value)
      },
      write: bytes => bytes ?? -1,
    },
    -1,
  ),
  /**
   * Entries of the dirty ring for each vCPU, a power of two; 0 is the dirty bitmap. Kernels accept
   * 256 to 65536, and 4096 or more is sensible.
   *
   * @default 0
   */
  dirtyRingSize: property<number, number>(
    'dirty-ring-size',
    {
      takes: 'a power of two, or 0',
      argument: 'ENTRIES',
      types: ['number'],
      parse: ringSize,
      write: entries => entries,
    },
    0,
  ),
  /**
   * The effect of a notify VM exit: warn once and continue, stop the machine, or leave notify VM
   * exits disabled.
   *
   * @default 'run'
   */
  notifyVmexit: wordProperty<NotifyPolicy>('notify-vmexit', ['run', 'internal-error', 'disable'], 'run'),
  /**
   * How long a guest may keep the CPU without an event window before a notify VM exit, in clock
   * cycles on top of the CPU's own threshold, 0 to 4294967295.
   *
   * @default 0
   */
  notifyWindow: property<number, number>(
    'notify-window',
    {
      takes: 'a whole number of clock cycles from 0 to 4294967295',
      argument: 'CYCLES',
      types: ['number'],
      parse: text => uint32('notify-window', text),
      write: cycles => cycles,
    },
    0,
  ),
  /**
   * Fails with `ERR_NOTIFY_UNSUPPORTED` on a host that cannot enforce the notify policy. Not in
   * QEMU.
   *
   * @default false
   */
  notifyRequired: property<boolean, boolean>(
    'notify-required',
    {
      takes: 'a boolean',
      argument: 'on|off',
      types: ['boolean'],
      parse: text => oneOf('notify-required', text, ['on', 'off']) === 'on',
      write: required => required,
    },
    false,
  ),
  /**
   * More than N notify exits within T seconds make `run` behave as `internal-error`. Both are whole
   * numbers from 1 to 4294967295. Not in QEMU.
   *
   * @default 'unlimited'
   */
  notifyBudget: property<string, NotifyBudget | null>(
    'notify-budget',
    {
      takes: "'N/T', or 'unlimited'",
      argument: 'N/T|unlimited',
      types: ['string'],
      parse: text => (text === 'unlimited' ? null : budget(text)),
      write: budget => (budget === null ? 'unlimited' : `${budget.exits}/${budget.seconds}`),
    },
    'unlimited',
  ),
  /**
   * The KVM device.
   *
   * @default '/dev/kvm'
   */
  device: property<string, string>(
    'device',
    { takes: 'a path', argument: 'PATH', types: ['string'], parse: devicePath, write: path => path },
    '/dev/kvm',
  ),
}

/**
 * The properties of `-accel kvm` as a typed object. Each key is the property's name in camel case.
 */
export interface AccelOptions extends OptionsOf<typeof accelMembers> {}

/** The properties of `-accel kvm` in normal form: every property is set and valid. */
export interface AccelProperties extends NormalOf<typeof accelMembers> {
  /**
   * True if the caller requested a policy other than `disable`, or a window. A host that cannot
   * enforce it then causes a warning.
   */
  readonly notifyAsked: boolean
}

/** Accelerators: QEMU's option text, a typed object, or a list of either that is tried in order. */
export type AccelInput = string | AccelOptions | readonly (string | AccelOptions)[]

/** The names of all properties on the command line. */
export const accelPropertyNames: readonly string[] = Object.values(accelMembers).map(({ cli }) => cli ?? '')

function shadowMemory(text: string): number | null {
  const bytes = parseInt64(text)
  if (bytes === undefined) {
    throw wrongType('kvm-shadow-mem', text, 'int64', 'Give a number of bytes without a suffix.')
  }
  if (bytes === -1n) return null
  // QEMU passes any other negative number to the kernel as an enormous size.
  if (bytes < 0n || bytes > BigInt(Number.MAX_SAFE_INTEGER)) {
    const rule = `expects a size from 0 to ${Number.MAX_SAFE_INTEGER} bytes or -1, and not '${text}'`
    throw badProperty('kvm-shadow-mem', text, rule, 'Use -1 to leave it to the kernel.')
  }
  return Number(bytes)
}

function ringSize(text: string): number {
  const entries = uint32('dirty-ring-size', text)
  // The bit test works on uint32: both operands become int32 with the same bits.
  if ((entries & (entries - 1)) !== 0) {
    throw badProperty(
      'dirty-ring-size',
      text,
      `expects a power of two, and not '${text}'`,
      'Use 0 for the dirty bitmap.',
    )
  }
  return entries
}

function uint32(name: string, text: string): number {
  const value = parseUint32(text)
  if (typeof value === 'number') return value
  const remedy = 'Give a whole number from 0 to 4294967295, decimal or with 0x, without a suffix.'
  throw wrongType(name, text, value, remedy)
}

function budget(text: string): NotifyBudget {
  const [exits, seconds] = /^[0-9]+\/[0-9]+$/.test(text) ? text.split('/').map(Number) : []
  const valid = (n: number | undefined): n is number => n !== undefined && n >= 1 && n <= 0xffff_ffff
  if (!valid(exits) || !valid(seconds)) {
    const rule = `expects N/T with a number of exits N and of seconds T, each from 1 to 4294967295, and not '${text}'`
    throw badProperty('notify-budget', text, rule, 'For example notify-budget=100/60, or notify-budget=unlimited.')
  }
  return { exits, seconds }
}

function devicePath(text: string): string {
  if (text === '' || text.includes('\0'))
    throw badProperty('device', text, `expects a path, and not '${text}'`, 'Leave it out for /dev/kvm.')
  return text
}

function wrongType(name: string, value: string, type: string, remedy: string) {
  return badProperty(name, value, `expects ${type}, and not '${value}'`, remedy)
}
