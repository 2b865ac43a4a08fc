import { AccelPropertyError } from '../errors/options/accel-property-error.js'
import { didYouMean } from '../errors/suggest.js'
import { parseSize } from '../schema/size.js'
import { accelProperties, accelPropertyNames, type AccelProperty, type AccelValues } from './schema.js'
import type { OptionPair } from './option-text.js'
import type { AccelOptions, AccelProperties } from './types.js'

/**
 * Reads the properties of `-accel kvm` from option text that is already split. Checks each pair in
 * order and throws the first error. Of duplicates the last one counts.
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

/**
 * Reads the properties of `-accel kvm` from the typed object, through the parser for option text.
 */
export function readOptions(options: AccelOptions): AccelProperties {
  const values: unknown = options
  if (typeof values !== 'object' || values === null) throw notAnObject(values)
  const given = new Map<string, unknown>()
  for (const [key, value] of Object.entries(values) as readonly (readonly [string, unknown])[]) {
    const property: AccelProperty | undefined = accelProperties.find(candidate => candidate.key === key)
    if (property === undefined) throw unknownKey(key)
    if (value !== undefined) given.set(key, property.parse(optionText(property, value)))
  }
  return complete(given)
}

/**
 * Converts a value of the typed object to option text. A size in the typed object may have a
 * suffix; QEMU's text has none.
 */
function optionText(property: AccelProperty, value: unknown): string {
  if (!isOneOf(property.types, value) || Number.isNaN(value)) throw wrongType(property, value)
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  if (property.key !== 'kvmShadowMem' || typeof value === 'number') return String(value)
  const size = parseSize(value, 'B')
  return typeof size === 'number' ? String(size) : value
}

function isOneOf(types: AccelProperty['types'], value: unknown): value is string | number | boolean {
  return types.some(type => type === typeof value)
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

function notAnObject(value: unknown): AccelPropertyError {
  const remedy = "For example { notifyVmexit: 'internal-error' }, or 'kvm,notify-vmexit=internal-error'."
  return new AccelPropertyError(`accelerator properties are an object, and not ${String(value)}`, {
    property: '',
    remedy,
  })
}

function unknownKey(key: string): AccelPropertyError {
  const keys = accelProperties.map(candidate => candidate.key)
  const message = `there is no accelerator property '${key}'.${didYouMean(key, keys)}`
  return new AccelPropertyError(message, { property: key, remedy: `The properties are ${keys.join(', ')}.` })
}

function wrongType({ name, types, takes }: AccelProperty, value: unknown): AccelPropertyError {
  const shown = typeof value === 'string' ? `'${value}'` : String(value)
  const message = `property '${name}' expects ${types.join(' or ')}, and not ${shown}`
  return new AccelPropertyError(message, { property: name, value: String(value), remedy: `It takes ${takes}.` })
}
