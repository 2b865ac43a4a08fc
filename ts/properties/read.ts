import * as v from 'valibot'
import { AccelPropertyError } from '../errors/accel-property-error.js'
import { didYouMean } from '../errors/suggest.js'
import { parseSize } from '../schema/size.js'
import { accelProperties, accelPropertyNames, type AccelProperty, type AccelValues } from './schema.js'
import type { OptionPair } from './option-text.js'
import type { AccelOptions, AccelProperties } from './types.js'

/**
 * Reads the properties of `-accel kvm` from option text that is already split. Each pair is checked in order, of
 * duplicates the last wins, and the first error is thrown.
 */
export function readProperties(pairs: readonly OptionPair[]): AccelProperties {
  const given = new Map<string, unknown>()
  for (const { key, value } of pairs) {
    const property: AccelProperty | undefined = accelProperties.find(candidate => candidate.name === key)
    if (property === undefined) throw unknownProperty(key)
    given.set(property.key, property.parse(value))
  }
  return complete(given)
}

/** Reads the properties of `-accel kvm` from the typed object, through the same parser as option text. */
export function readOptions(options: AccelOptions): AccelProperties {
  const shape = v.safeParse(accelOptionsShape, options)
  if (!shape.success) throw wrongShape(options, shape.issues[0])
  const given = new Map<string, unknown>()
  for (const property of accelProperties as readonly AccelProperty[]) {
    const value = options[property.key]
    if (value !== undefined) given.set(property.key, property.parse(optionText(property.key, value)))
  }
  return complete(given)
}

const accelOptionsShape = v.strictObject({
  kernelIrqchip: v.optional(v.string()),
  kvmShadowMem: v.optional(v.union([v.number(), v.string()])),
  dirtyRingSize: v.optional(v.number()),
  notifyVmexit: v.optional(v.string()),
  notifyWindow: v.optional(v.number()),
  notifyRequired: v.optional(v.boolean()),
  notifyBudget: v.optional(v.string()),
  device: v.optional(v.string()),
} satisfies Record<keyof AccelOptions, unknown>)

/** A value of the typed object as option text. Only there a size may have a suffix: QEMU's text has none. */
function optionText(key: keyof AccelValues, value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  if (key !== 'kvmShadowMem' || typeof value === 'number') return String(value)
  const size = parseSize(value, 'B')
  return typeof size === 'number' ? String(size) : value
}

function complete(given: ReadonlyMap<string, unknown>): AccelProperties {
  const values = Object.fromEntries(
    (accelProperties as readonly AccelProperty[]).map(({ key, default: otherwise }) => [
      key,
      given.has(key) ? given.get(key) : otherwise,
    ]),
  ) as unknown as AccelValues
  if (values.notifyRequired && values.notifyVmexit === 'disable') {
    const message = "property 'notify-required' is on, and notify-vmexit=disable leaves nothing to require"
    const remedy = 'Use notify-vmexit=run or notify-vmexit=internal-error, or leave notify-required off.'
    throw new AccelPropertyError(message, { property: 'notify-required', value: 'on', remedy })
  }
  const asked = given.has('notifyVmexit') || given.has('notifyWindow')
  return Object.freeze({ ...values, notifyAsked: asked && values.notifyVmexit !== 'disable' })
}

function unknownProperty(key: string): AccelPropertyError {
  const remedy = `The properties are ${accelPropertyNames.join(', ')}.`
  const message = `there is no property 'kvm-accel.${key}'.${didYouMean(key, accelPropertyNames)}`
  return new AccelPropertyError(message, { property: key, remedy })
}

function wrongShape(options: unknown, issue: v.BaseIssue<unknown>): AccelPropertyError {
  const key = issue.path?.[0]?.key
  if (typeof key !== 'string') {
    const remedy = "For example { notifyVmexit: 'internal-error' }, or 'kvm,notify-vmexit=internal-error'."
    return new AccelPropertyError(`accelerator properties are an object, and not ${issue.received}`, {
      property: '',
      remedy,
    })
  }
  const property = accelProperties.find(candidate => candidate.key === key)
  if (property === undefined) {
    const keys = accelProperties.map(candidate => candidate.key)
    const message = `there is no accelerator property '${key}'.${didYouMean(key, keys)}`
    return new AccelPropertyError(message, { property: key, remedy: `The properties are ${keys.join(', ')}.` })
  }
  const message = `property '${property.name}' expects ${issue.expected}, and not ${issue.received}`
  const value = String((options as Record<string, unknown>)[key])
  return new AccelPropertyError(message, { property: property.name, value, remedy: `It takes ${property.takes}.` })
}
