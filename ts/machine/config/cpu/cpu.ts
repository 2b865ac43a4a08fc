// The processors of a machine, QEMU's -cpu and -smp, in normal form.

import * as v from 'valibot'
import { MachineConfigError } from '../../../errors/machine-config-error.js'
import { didYouMean } from '../../../errors/suggest.js'
import { cpuFeatures } from './features.js'
import { cpuModels, isCpuModel } from './models.js'
import type { CpuOptions, TopologyOptions } from './cpu-options.js'
import { parseSize } from '../../../schema/size.js'

/** The xAPIC has 8 bits for an id, and 255 is the broadcast. */
export const MAX_CPUS = 255

/** {@link CpuOptions}, everything set. */
export interface NormalCpu {
  readonly model: string
  /** In the order in which they apply. */
  readonly features: readonly { readonly name: string; readonly on: boolean }[]
  readonly check: boolean
  readonly enforce: boolean
  readonly kvm: boolean
  readonly pmu: boolean | null
  readonly migratable: boolean
  /** kHz. */
  readonly tscKhz: number | null
}

/** Shape only. */
export const cpuShape = v.union([
  v.string(),
  v.strictObject({
    model: v.optional(v.string()),
    features: v.optional(v.record(v.string(), v.boolean())),
    check: v.optional(v.boolean()),
    enforce: v.optional(v.boolean()),
    kvm: v.optional(v.boolean()),
    pmu: v.optional(v.boolean()),
    migratable: v.optional(v.boolean()),
    tscFrequency: v.optional(v.number()),
  }),
])

/** What the option takes, for messages. */
export const cpuTakes =
  "a model and features such as 'host,-avx2', or { model, features, check, enforce, kvm, pmu, migratable, tscFrequency }"

/** Shape only. */
export const topologyShape = v.strictObject({
  sockets: v.optional(v.number()),
  dies: v.optional(v.number()),
  cores: v.optional(v.number()),
  threads: v.optional(v.number()),
})

/** What the option takes, for messages. */
export const topologyTakes = '{ sockets, dies, cores, threads }, whole numbers whose product is the number of vCPUs'

/** Makes the error of whoever was given the text. */
export type Refuse = (message: string, remedy: string) => Error

const switches = ['check', 'enforce', 'kvm', 'pmu', 'migratable'] as const

/** Reads `MODEL[,+FEATURE][,-FEATURE][,FEATURE=on|off][,PROPERTY=VALUE]`, as `-cpu` takes it. */
export function parseCpuText(text: string, refuse: Refuse): CpuOptions {
  const [model = '', ...words] = text.split(',')
  checkModel(model, refuse)
  const given: Record<string, boolean> = {}
  const added: string[] = []
  const removed: string[] = []
  const options: { -readonly [K in keyof CpuOptions]: CpuOptions[K] } = { model }
  for (const word of words) {
    if (word.startsWith('+')) added.push(featureName(word.slice(1), refuse))
    else if (word.startsWith('-')) removed.push(featureName(word.slice(1), refuse))
    else {
      const [key = '', value = 'on'] = word.split(/=(.*)/s)
      const name = key.replaceAll('_', '-')
      if (name === 'tsc-frequency' || name === 'tsc-freq') options.tscFrequency = frequency(value, refuse)
      else {
        const on = { on: true, yes: true, true: true, off: false, no: false, false: false }[value]
        if (on === undefined) throw refuse(`'${word}' expects on or off`, `For example '${key}=on'.`)
        const own = switches.find(known => known === name)
        if (own) options[own] = on
        else given[featureName(name, refuse)] = on
      }
    }
  }
  // QEMU's order: what has a value, then all +, then all -.
  const features: Record<string, boolean> = {}
  const put = (name: string, on: boolean) => {
    delete features[name]
    features[name] = on
  }
  for (const [name, on] of Object.entries(given)) put(name, on)
  for (const name of added) put(name, true)
  for (const name of removed) put(name, false)
  if (Object.keys(features).length > 0) options.features = features
  return options
}

function checkModel(model: string, refuse: Refuse): void {
  if (isCpuModel(model)) return
  const remedy = "'kvm-accel run -cpu help' lists the models; without one the guest sees the host's CPU."
  throw refuse(`does not have the model '${model}'.${didYouMean(model, cpuModels)}`, remedy)
}

function featureName(spelled: string, refuse: Refuse): string {
  const name = spelled.replaceAll('_', '-')
  if (cpuFeatures.includes(name)) return name
  const remedy = "docs/cpu.md lists the features; '-cpu help' prints their names."
  throw refuse(`does not have the feature '${spelled}'.${didYouMean(name, [...cpuFeatures, ...switches])}`, remedy)
}

function frequency(text: string, refuse: Refuse): number {
  // QEMU's tsc-freq has decimal suffixes.
  const [, digits = '', unit = ''] = /^([0-9.]+)([kMG]?)$/.exec(text) ?? []
  const hertz = digits === '' ? parseSize(text) : Number(digits) * { '': 1, k: 1e3, M: 1e6, G: 1e9 }[unit as '']
  if (typeof hertz === 'number' && Number.isSafeInteger(hertz)) return hertz
  throw refuse(`tsc-frequency= expects a number of Hz, and not '${text}'`, "For example 'tsc-frequency=2500000000'.")
}

/** Checks the names and fills in the defaults. */
export function normaliseCpu(cpu: string | CpuOptions): NormalCpu {
  const refuse: Refuse = (message, remedy) =>
    new MachineConfigError(`machine option 'cpu' ${message}`, { option: 'cpu', remedy })
  const options = typeof cpu === 'string' ? parseCpuText(cpu, refuse) : cpu
  const { model = 'host', features = {}, check = true, enforce = false, kvm = true, pmu, migratable = false } = options
  checkModel(model, refuse)
  const { tscFrequency } = options
  if (tscFrequency !== undefined && !(tscFrequency >= 1000 && tscFrequency / 1000 < 2 ** 32)) {
    throw refuse(`has tscFrequency ${tscFrequency}`, 'It is a number of Hz, 1000 to 2^32 * 1000 - 1.')
  }
  return {
    model,
    features: Object.entries(features).map(([name, on]) => ({ name: featureName(name, refuse), on })),
    check,
    enforce,
    kvm,
    pmu: pmu ?? null,
    migratable,
    tscKhz: tscFrequency === undefined ? null : Math.floor(tscFrequency / 1000),
  }
}

/** Fills in the levels that were left out as QEMU does: cores first, then sockets, then threads. */
export function completeTopology(cpus: number | undefined, given: TopologyOptions): Required<TopologyOptions> {
  const { dies = 1 } = given
  let { sockets, cores, threads } = given
  const all = cpus ?? (sockets ?? 1) * dies * (cores ?? 1) * (threads ?? 1)
  const rest = (...known: number[]) => Math.floor(all / known.reduce((product, count) => product * count, 1))
  if (cores === undefined) {
    sockets ??= 1
    threads ??= 1
    cores = rest(sockets, dies, threads)
  } else if (sockets === undefined) {
    threads ??= 1
    sockets = rest(dies, cores, threads)
  }
  threads ??= rest(sockets, dies, cores)
  return { sockets, dies, cores, threads }
}

/** The number of vCPUs and their places. */
export function normaliseTopology(
  cpus: number | undefined,
  topology: TopologyOptions | undefined,
): { readonly cpus: number; readonly topology: Required<TopologyOptions> } {
  const complete = completeTopology(cpus ?? (topology ? undefined : 1), topology ?? {})
  const product = complete.sockets * complete.dies * complete.cores * complete.threads
  const whole = Object.values(complete).every(count => Number.isInteger(count) && count >= 1)
  if (!whole || product > MAX_CPUS || (cpus ?? product) !== product) {
    const text = Object.entries(complete).map(([level, count]) => `${level} ${count}`)
    const message = `machine option 'topology' has ${text.join(', ')}, which does not make ${cpus ?? `1 to ${MAX_CPUS}`} vCPUs`
    throw new MachineConfigError(message, { option: 'topology', remedy: `It takes ${topologyTakes}.` })
  }
  return { cpus: product, topology: complete }
}
