import { AcceleratorError } from '../errors/options/accelerator-error.js'
import type { MachineWarning } from '../errors/operation/warning.js'
import { parseOptionText, type OptionPair } from './option-text.js'
import { readOptions, readProperties } from './read.js'
import { accelPropertyNames, type AccelInput, type AccelOptions, type AccelProperties } from './schema.js'

/**
 * The accelerators that QEMU can have. This package implements `kvm` only. `qtest` is QEMU's
 * accelerator for its own tests.
 */
const qemuAccelerators: readonly string[] = ['kvm', 'tcg', 'xen', 'hvf', 'whpx', 'nvmm', 'hax', 'qtest', 'mshv']

/** The result of resolving a fallback list. */
export interface ResolvedAccelerators {
  /** The KVM accelerators of the list, in the order in which they are tried; never empty. */
  readonly candidates: readonly AccelProperties[]
  /** Warnings about skipped accelerators and deprecated spellings. */
  readonly warnings: readonly MachineWarning[]
}

/** One `-accel` text, split into its name and its properties. */
interface Accelerator {
  readonly name: string
  readonly properties: readonly OptionPair[]
}

/**
 * Resolves accelerators as QEMU resolves its `-accel` options, in order. An unavailable accelerator
 * falls back to the next one; an invalid property is an error. Without any accelerator, `kvm` is
 * used.
 *
 * @throws {@link AcceleratorError} when no accelerator of the list is `kvm`.
 * @throws {@link AccelPropertyError} when a property of a `kvm` in the list is unknown or has an
 * invalid value.
 */
export function resolveAccelerators(accel: AccelInput = 'kvm'): ResolvedAccelerators {
  if (typeof accel !== 'string') return resolve(accel)
  if (latest?.text !== accel) latest = { text: accel, resolved: resolve(accel) }
  return latest.resolved
}

/**
 * Caches the latest text, because most programs use the same text for all machines. Parsing it
 * takes longer than checking all other options.
 */
let latest: { readonly text: string; readonly resolved: ResolvedAccelerators } | undefined

function resolve(accel: AccelInput): ResolvedAccelerators {
  const list: readonly (string | AccelOptions)[] = isList(accel) ? accel : [accel]
  const candidates: AccelProperties[] = []
  const skipped: AcceleratorError[] = []
  const warnings: MachineWarning[] = []
  for (const entry of list) {
    if (typeof entry !== 'string') {
      candidates.push(readOptions(entry))
      continue
    }
    const { name, properties } = splitAccelerator(entry)
    if (name !== 'kvm') {
      skipped.push(notOurs(name))
      continue
    }
    warnings.push(...shortForms(properties))
    candidates.push(readProperties(properties))
  }
  if (candidates.length === 0) throw exhausted(skipped)
  const passedOver = skipped.map(({ message }): MachineWarning => ({
    code: 'ACCELERATOR_SKIPPED',
    message: `${message}; using kvm instead`,
  }))
  return Object.freeze({
    candidates: Object.freeze(candidates),
    warnings: Object.freeze([...passedOver, ...warnings]),
  })
}

/**
 * Splits one `-accel` text into the accelerator and its properties. Of several `accel=` the last
 * one counts.
 */
export function splitAccelerator(text: string): Accelerator {
  const pairs = parseOptionText(text, 'accel', accelPropertyNames)
  const name = pairs.findLast(pair => pair.key === 'accel')?.value
  if (name === undefined) {
    const remedy = "Name it first, for example '-accel kvm,notify-vmexit=internal-error'."
    throw new AcceleratorError(`'${text}' names no accelerator`, { accelerator: '', remedy })
  }
  // `id` names the option and is not a property of the accelerator. QEMU accepts it, and no other
  // option can refer to it.
  return { name, properties: pairs.filter(({ key }) => key !== 'accel' && key !== 'id') }
}

function isList(accel: AccelInput): accel is readonly (string | AccelOptions)[] {
  return Array.isArray(accel)
}

function notOurs(accelerator: string): AcceleratorError {
  if (qemuAccelerators.includes(accelerator)) {
    const remedy = "Use 'kvm'. For another accelerator use QEMU."
    return new AcceleratorError(`accelerator '${accelerator}' of QEMU is not supported`, {
      accelerator,
      remedy,
    })
  }
  const remedy = accelerator.includes(':')
    ? "A list with colons belongs to '-machine accel='; for a fallback repeat '-accel'."
    : "The only accelerator is 'kvm'."
  return new AcceleratorError(`invalid accelerator '${accelerator}'`, { accelerator, remedy })
}

function exhausted(skipped: readonly AcceleratorError[]): AcceleratorError {
  const [first] = skipped
  if (first === undefined) {
    return new AcceleratorError('the list of accelerators is empty', {
      accelerator: '',
      remedy: "The only accelerator is 'kvm'.",
    })
  }
  if (skipped.length === 1) return first
  const names = skipped.map(({ accelerator }) => accelerator).join(':')
  const message = `no usable accelerator: ${skipped.map(({ message }) => message).join('; ')}`
  return new AcceleratorError(message, { accelerator: names, remedy: "Add 'kvm' to the list." })
}

function shortForms(properties: readonly OptionPair[]): MachineWarning[] {
  return properties
    .filter(({ bare, key }) => bare && key !== 'help' && key !== '?')
    .map(({ key, value }) => ({
      code: 'SHORT_FORM_OPTION',
      message: `a property without a value is deprecated; write '${key}=${value}'`,
    }))
}
