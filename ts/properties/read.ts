import { AccelPropertyError } from '../errors/options/accel-property-error.js'
import { didYouMean } from '../errors/suggest.js'
import type { AnyEntry, NormalOf } from '../schema/entry.js'
import { accelMembers, accelPropertyNames, type AccelOptions, type AccelProperties } from './schema.js'
import type { OptionPair } from './option-text.js'

const properties: readonly (readonly [key: string, entry: AnyEntry])[] = Object.entries(accelMembers)

/**
 * Reads the properties of `-accel kvm` from option text that is already split. Checks each pair in
 * order and throws the first error. Of duplicates the last one counts.
 */
export function readProperties(pairs: readonly OptionPair[]): AccelProperties {
  const given = new Map<string, unknown>()
  for (const { key, value } of pairs) {
    const [member, entry] = properties.find(([, { cli }]) => cli === key) ?? []
    if (member === undefined) throw unknownProperty(key)
    given.set(member, entry?.argument?.read(value))
  }
  return complete(given)
}

/** Reads the properties of `-accel kvm` from the typed object. */
export function readOptions(options: AccelOptions): AccelProperties {
  const values: unknown = options
  if (typeof values !== 'object' || values === null) throw notAnObject(values)
  const given = new Map<string, unknown>()
  for (const [key, value] of Object.entries(values) as readonly (readonly [string, unknown])[]) {
    const [, entry] = properties.find(([member]) => member === key) ?? []
    if (entry === undefined) throw unknownKey(key)
    if (value !== undefined) given.set(key, entry.read(value, key))
  }
  return complete(given)
}

function complete(given: ReadonlyMap<string, unknown>): AccelProperties {
  const values = Object.fromEntries(
    properties.map(([key, entry]) => [key, given.has(key) ? given.get(key) : entry.absent(key)]),
  ) as unknown as NormalOf<typeof accelMembers>
  if (values.notifyRequired && values.notifyVmexit === 'disable') {
    const message = 'notify-required=on and notify-vmexit=disable contradict each other'
    const remedy = 'Use notify-vmexit=run or notify-vmexit=internal-error, or leave notify-required off.'
    throw new AccelPropertyError(message, { property: 'notify-required', value: 'on', remedy })
  }
  const asked = given.has('notifyVmexit') || given.has('notifyWindow')
  return Object.freeze({ ...values, notifyAsked: asked && values.notifyVmexit !== 'disable' })
}

function unknownProperty(key: string): AccelPropertyError {
  const remedy = `The properties are ${accelPropertyNames.join(', ')}.`
  const message = `unknown property 'kvm-accel.${key}'.${didYouMean(key, accelPropertyNames)}`
  return new AccelPropertyError(message, { property: key, remedy })
}

function notAnObject(value: unknown): AccelPropertyError {
  const remedy = "For example { notifyVmexit: 'internal-error' }, or 'kvm,notify-vmexit=internal-error'."
  return new AccelPropertyError(`invalid accelerator properties ${String(value)}: expected an object`, {
    property: '',
    remedy,
  })
}

function unknownKey(key: string): AccelPropertyError {
  const keys = Object.keys(accelMembers)
  const message = `unknown accelerator property '${key}'.${didYouMean(key, keys)}`
  return new AccelPropertyError(message, { property: key, remedy: `The properties are ${keys.join(', ')}.` })
}
