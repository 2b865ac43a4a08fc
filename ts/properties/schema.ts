import { AccelPropertyError } from '../errors/options/accel-property-error.js'
import { either } from '../errors/suggest.js'
import { parseInt64, parseUint32 } from '../schema/number.js'
import type { AccelOptions, AccelProperties, NotifyBudget } from './types.js'

/** The values of the properties, without the derived value `notifyAsked`. */
export type AccelValues = Omit<AccelProperties, 'notifyAsked'>

/**
 * One property of `-accel kvm`. The parser, the typed object, help and the documents all use this
 * description.
 */
export interface AccelProperty<K extends keyof AccelValues = keyof AccelValues> {
  /** The name on the command line. */
  readonly name: string
  /** The key in the typed object and in the normal form. */
  readonly key: K
  /** The JavaScript types that the typed object accepts. */
  readonly types: readonly ('string' | 'number' | 'boolean')[]
  /** The accepted values, as help shows them. */
  readonly takes: string
  readonly default: AccelValues[K]
  /** The default as option text. */
  readonly defaultText: string
  /** True if the property is kvm-accel's own: QEMU does not have it. */
  readonly ours: boolean
  /** One sentence for help and the documents. */
  readonly about: string
  /** Parses option text; throws {@link AccelPropertyError}. */
  readonly parse: (text: string) => AccelValues[K]
}

const kernelIrqchip: AccelProperty<'kernelIrqchip'> = {
  name: 'kernel-irqchip',
  key: 'kernelIrqchip',
  types: ['string'],
  takes: 'on|off|split',
  default: 'on',
  defaultText: 'on',
  ours: false,
  about:
    'Where the interrupt controllers live: all in the kernel (on), only the local APICs there (split), or none, for one vCPU (off).',
  parse: text => oneOf('kernel-irqchip', text, ['on', 'off', 'split']),
}

const kvmShadowMem: AccelProperty<'kvmShadowMem'> = {
  name: 'kvm-shadow-mem',
  key: 'kvmShadowMem',
  types: ['number', 'string'],
  takes: 'BYTES',
  default: null,
  defaultText: '-1',
  ours: false,
  about: 'Memory for shadow pages; -1 leaves it to the kernel, whose minimum is 262144.',
  parse(text) {
    const bytes = parseInt64(text)
    if (bytes === undefined)
      throw wrongType('kvm-shadow-mem', text, 'int64', 'Give a number of bytes without a suffix.')
    if (bytes === -1n) return null
    // QEMU passes any other negative number to the kernel as an enormous size.
    if (bytes < 0n || bytes > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw bad(
        'kvm-shadow-mem',
        text,
        `is a size from 0 to ${Number.MAX_SAFE_INTEGER} bytes, or -1`,
        'Use -1 to leave it to the kernel.',
      )
    }
    return Number(bytes)
  },
}

const dirtyRingSize: AccelProperty<'dirtyRingSize'> = {
  name: 'dirty-ring-size',
  key: 'dirtyRingSize',
  types: ['number'],
  takes: 'ENTRIES',
  default: 0,
  defaultText: '0',
  ours: false,
  about: 'Entries of the dirty ring for each vCPU, a power of two; 0 is the dirty bitmap.',
  parse(text) {
    const entries = uint32('dirty-ring-size', text)
    // The bit test works on uint32: both operands become int32 with the same bits.
    if ((entries & (entries - 1)) !== 0) {
      throw bad('dirty-ring-size', text, 'must be a power of two', 'Use 0 for the dirty bitmap.')
    }
    return entries
  },
}

const notifyVmexit: AccelProperty<'notifyVmexit'> = {
  name: 'notify-vmexit',
  key: 'notifyVmexit',
  types: ['string'],
  takes: 'run|internal-error|disable',
  default: 'run',
  defaultText: 'run',
  ours: false,
  about: 'What a notify VM exit does: warn once and go on, stop the machine, or leave notify VM exits off.',
  parse: text => oneOf('notify-vmexit', text, ['run', 'internal-error', 'disable']),
}

const notifyWindow: AccelProperty<'notifyWindow'> = {
  name: 'notify-window',
  key: 'notifyWindow',
  types: ['number'],
  takes: 'CYCLES',
  default: 0,
  defaultText: '0',
  ours: false,
  about:
    "Clock cycles without an event window after which the CPU exits from the guest, in addition to the CPU's own threshold.",
  parse: text => uint32('notify-window', text),
}

const notifyRequired: AccelProperty<'notifyRequired'> = {
  name: 'notify-required',
  key: 'notifyRequired',
  types: ['boolean'],
  takes: 'on|off',
  default: false,
  defaultText: 'off',
  ours: true,
  about: 'Fail on a host that cannot enforce the notify policy.',
  parse: text => oneOf('notify-required', text, ['on', 'off']) === 'on',
}

const notifyBudget: AccelProperty<'notifyBudget'> = {
  name: 'notify-budget',
  key: 'notifyBudget',
  types: ['string'],
  takes: 'N/T|unlimited',
  default: null,
  defaultText: 'unlimited',
  ours: true,
  about: 'More than N notify exits within T seconds make run behave as internal-error.',
  parse: text => (text === 'unlimited' ? null : budget(text)),
}

const device: AccelProperty<'device'> = {
  name: 'device',
  key: 'device',
  types: ['string'],
  takes: 'PATH',
  default: '/dev/kvm',
  defaultText: '/dev/kvm',
  ours: false,
  about: 'The KVM device.',
  parse(text) {
    if (text === '' || text.includes('\0')) throw bad('device', text, 'is a path', 'Leave it out for /dev/kvm.')
    return text
  },
}

/** All properties, in the order in which help shows them. */
export const accelProperties = [
  kernelIrqchip,
  kvmShadowMem,
  dirtyRingSize,
  notifyVmexit,
  notifyWindow,
  notifyRequired,
  notifyBudget,
  device,
] as const satisfies readonly { readonly key: keyof AccelOptions }[]

/** The names of all properties on the command line. */
export const accelPropertyNames: readonly string[] = accelProperties.map(property => property.name)

function oneOf<const T extends string>(property: string, text: string, values: readonly T[]): T {
  const value = values.find(candidate => candidate === text)
  if (value === undefined) throw bad(property, text, `does not accept value '${text}'`, `Use ${either(values)}.`)
  return value
}

function uint32(property: string, text: string): number {
  const value = parseUint32(text)
  if (typeof value === 'number') return value
  const remedy = 'Give a whole number from 0 to 4294967295, decimal or with 0x, without a suffix.'
  throw wrongType(property, text, value, remedy)
}

function budget(text: string): NotifyBudget {
  const [exits, seconds] = /^[0-9]+\/[0-9]+$/.test(text) ? text.split('/').map(Number) : []
  const valid = (n: number | undefined): n is number => n !== undefined && n >= 1 && n <= 0xffff_ffff
  if (!valid(exits) || !valid(seconds)) {
    const rule = 'expects N/T, a number of exits and of seconds, each from 1 to 4294967295'
    throw bad('notify-budget', text, rule, 'For example notify-budget=100/60, or notify-budget=unlimited.')
  }
  return { exits, seconds }
}

function wrongType(property: string, value: string, type: string, remedy: string): AccelPropertyError {
  return bad(property, value, `expects ${type}, and '${value}' is none`, remedy)
}

function bad(property: string, value: string, rule: string, remedy: string): AccelPropertyError {
  return new AccelPropertyError(`property '${property}' ${rule}`, { property, value, remedy })
}
