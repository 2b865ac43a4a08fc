// The guest's CPU, QEMU's -cpu.

import { build } from '../../../schema/build.js'
import { object } from '../../../schema/compound.js'
import type { Entry, NormalOf, OptionsOf } from '../../../schema/entry.js'
import { invalidValue } from '../../../schema/invalid.js'
import { parseUint32 } from '../../../schema/number.js'
import { boolean, integer, text } from '../../../schema/scalars.js'
import { parseSize } from '../../../schema/size.js'
import { MachineConfigError } from '../../../errors/options/machine-config-error.js'
import { checkFeature, checkModel, type Refuse } from './names.js'
import { parseCpuText } from './cpu-text.js'

/** The kernel takes kHz in 32 bits. */
const MAX_HZ = 2 ** 32 * 1000 - 1

export const cpuMembers = {
  /**
   * The CPU model. `host` (or `max`) has the features of the host's CPU that KVM supports. Any
   * other model of QEMU's is a set of features, of which the guest gets those that the host has.
   *
   * @default 'host'
   */
  model: build<string, string, 'host'>(
    {
      takes: 'the name of a CPU model',
      read: (value, path) => {
        if (typeof value === 'string') checkModel(value, refuse(path))
        return typeof value === 'string' ? value : undefined
      },
      write: model => model,
    },
    { default: 'host', cli: '-cpu' },
  ),
  /**
   * The vendor in CPUID leaf 0, 12 ASCII characters, for example `GenuineIntel`. AMD's and Intel's
   * CPUs differ in their leaves about caches and cores.
   *
   * @default the host's
   */
  vendor: text({
    default: null,
    defaultText: "the host's",
    pattern: { regex: /^[ -~]{12}$/, takes: 'a text of 12 ASCII characters, for example GenuineIntel' },
    cli: 'vendor',
  }),
  /**
   * Features by QEMU's names that are added to the model or removed from it:
   * `{ avx2: false, 'kvm-pv-ipi': true }`. Features that depend on an absent feature are absent,
   * too.
   *
   * @default none
   */
  features: build<Readonly<Record<string, boolean>>, readonly CpuFeature[], Record<string, never>>(
    {
      takes: "an object of booleans by feature, for example { avx2: false, 'kvm-pv-ipi': true }",
      read: readFeatures,
      write: features => Object.fromEntries(features.map(({ name, on }) => [name, on])),
    },
    { default: {}, defaultText: 'none', cli: '-cpu FEATURE=on|off' },
  ),
  /**
   * Warns about requested features that the host does not support.
   *
   * @default true
   */
  check: boolean({ default: true, cli: 'check' }),
  /**
   * Fails on requested features that the host does not support.
   *
   * @default false
   */
  enforce: boolean({ default: false, cli: 'enforce' }),
  /**
   * Reports to the guest that its hypervisor is KVM.
   *
   * @default true
   */
  kvm: boolean({ default: true, cli: 'kvm' }),
  /**
   * The performance monitoring unit.
   *
   * @default true for the host's CPU, false for other models
   */
  pmu: boolean({ default: null, defaultText: "true for the host's CPU, false for other models", cli: 'pmu' }),
  /**
   * Omits the invariant time-stamp counter.
   *
   * @default false
   */
  migratable: boolean({ default: false, cli: 'migratable' }),
  /**
   * Gives the guest the host's number of physical address bits, even if `physBits` is another number.
   *
   * @default false
   */
  hostPhysBits: boolean({ default: false, cli: 'host-phys-bits' }),
  /**
   * The number of physical address bits, 32 to 52, in CPUID leaf 0x80000008 EAX[7:0]. 0 is the
   * host's. A number other than the host's causes a warning.
   *
   * @default 0
   */
  physBits: build<number, number, 0>(
    {
      takes: 'a whole number from 32 to 52, or 0',
      argument: { takes: '0|32…52', read: word => physBits(parseUint32(word)) },
      read: physBits,
      write: bits => bits,
    },
    { default: 0, cli: 'phys-bits' },
  ),
  /**
   * Hyper-V: the number of attempts, 0 to 4294967295, after which a guest reports a long wait for a
   * spin lock.
   *
   * @default never
   */
  hvSpinlocks: integer({
    min: 0,
    max: 2 ** 32 - 1,
    default: null,
    defaultText: 'never',
    cli: 'hv-spinlocks',
    argument: { takes: 'COUNT', read: attempts },
  }),
  /**
   * Hyper-V: the name of the hypervisor, at most 12 ASCII characters.
   *
   * @default 'Microsoft Hv'
   */
  hvVendorId: text({
    default: null,
    defaultText: "'Microsoft Hv'",
    pattern: { regex: /^[ -~]{1,12}$/, takes: 'a text of 1 to 12 ASCII characters' },
    cli: 'hv-vendor-id',
  }),
  /**
   * The frequency of the time-stamp counter in Hz, 1000 to 4294967295999. A host without TSC scaling has only its own frequency, within 250 ppm.
   *
   * @default the host's
   */
  tscFrequency: integer({
    min: 1000,
    max: MAX_HZ,
    unit: 'Hz',
    default: null,
    defaultText: "the host's",
    cli: 'tsc-frequency',
    argument: { takes: 'HZ', read: hertz },
  }),
}

/** A feature that is added or removed. */
export interface CpuFeature {
  readonly name: string
  readonly on: boolean
}

/** The guest's CPU. */
export interface CpuOptions extends OptionsOf<typeof cpuMembers> {}

type Members = NormalOf<typeof cpuMembers>

/** {@link CpuOptions} in normal form. Features are in the order in which they apply. */
export interface NormalCpu extends Omit<Members, 'tscFrequency'> {
  readonly tscKhz: number | null
}

const cpuObject: Entry<CpuOptions, NormalCpu, 'required'> = object('CpuOptions', cpuMembers, {
  finish: ({ tscFrequency, ...cpu }) => ({
    ...cpu,
    tscKhz: tscFrequency === null ? null : Math.floor(tscFrequency / 1000),
  }),
  restore: ({ tscKhz, ...cpu }) => ({ ...cpu, tscFrequency: tscKhz === null ? null : tscKhz * 1000 }),
})

export const cpuEntry = build<string | CpuOptions, NormalCpu, 'host'>(
  {
    takes: `a model and features such as 'host,-avx2', or ${cpuObject.takes}`,
    nested: { name: 'CpuOptions', members: cpuMembers },
    read: (value, path) => {
      if (typeof value === 'string') return cpuObject.read(readCpuText(value, refuse(path)), path)
      return typeof value === 'object' && value !== null ? cpuObject.read(value, path) : undefined
    },
    write: normal => cpuObject.write(normal) ?? 'host',
  },
  { default: 'host', cli: '-cpu' },
)

/** Reads a CPU in the form of `-cpu`. */
export function readCpuText(text: string, refuse: Refuse): CpuOptions {
  return parseCpuText(text, cpuMembers, refuse)
}

/** Creates errors of the option at `path`. */
function refuse(path: string): Refuse {
  return (problem, remedy) => new MachineConfigError(`machine option '${path}' ${problem}`, { option: 'cpu', remedy })
}

function readFeatures(value: unknown, path: string): readonly CpuFeature[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  return Object.entries(value).map(([name, on]: [string, unknown]) => {
    if (typeof on !== 'boolean')
      throw invalidValue(`${path}.${name}`, on, { takes: 'a boolean', defaultText: undefined })
    return { name: checkFeature(name, Object.keys(cpuMembers), refuse('cpu')), on }
  })
}

function physBits(value: unknown): number | undefined {
  const known = typeof value === 'number' && Number.isInteger(value) && value >= 32 && value <= 52
  return known || value === 0 ? value : undefined
}

function attempts(word: string): number | undefined {
  const count = parseUint32(word)
  return typeof count === 'number' ? count : undefined
}

/** QEMU's tsc-frequency has decimal suffixes. */
function hertz(word: string): number | undefined {
  const [, digits = '', unit = ''] = /^([0-9.]+)([kMG]?)$/.exec(word) ?? []
  const value = digits === '' ? parseSize(word) : Number(digits) * { '': 1, k: 1e3, M: 1e6, G: 1e9 }[unit as '']
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined
}
