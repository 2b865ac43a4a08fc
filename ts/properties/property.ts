// Builds the entry of one property of `-accel kvm`.
//
// A property has one parser, for its option text. A value of the typed object is converted to that
// text first, so that both spellings have the same checks and the same errors.

import { AccelPropertyError } from '../errors/options/accel-property-error.js'
import { either } from '../errors/suggest.js'
import { build } from '../schema/build.js'
import type { Entry } from '../schema/entry.js'

/** A value of the typed object. */
type Value = string | number | boolean

/** A kind of properties. */
interface PropertyKind<Input extends Value, Normal> {
  /** The accepted values of the typed object, for documents. */
  readonly takes: string
  /** The accepted values on the command line, for help. */
  readonly argument: string
  /** The JavaScript types that the typed object accepts. */
  readonly types: readonly ('string' | 'number' | 'boolean')[]
  /** Parses option text. Throws {@link AccelPropertyError}. */
  readonly parse: (text: string) => Normal
  /** Converts a value of the typed object to option text. Without it, a boolean is `on` or `off`. */
  readonly format?: (value: Input) => string
  readonly write: (normal: Normal) => Input
}

/** Creates the entry of the property `name` with a default. */
export function property<Input extends Value, Normal>(
  name: string,
  { takes, argument, types, parse, format = formatValue, write }: PropertyKind<Input, Normal>,
  otherwise: Input & {},
): Entry<Input, Normal, 'optional'> {
  const read = (value: unknown): Normal => {
    if (!types.some(type => type === typeof value) || Number.isNaN(value)) {
      const shown = typeof value === 'string' ? `'${value}'` : String(value)
      throw new AccelPropertyError(`property '${name}' expects ${types.join(' or ')}, and not ${shown}`, {
        property: name,
        value: String(value),
        remedy: `Use ${argument}.`,
      })
    }
    return parse(format(value as Input))
  }
  const entry = build<Input, Normal, Input & {}>(
    // The parser returns the normal form, because option text has no other use.
    { takes, argument: { takes: argument, read: parse } as never, read, write },
    { default: otherwise, cli: name },
  )
  return entry as unknown as Entry<Input, Normal, 'optional'>
}

/** Formats a value as option text. */
function formatValue(value: Value): string {
  return typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value)
}

/** Creates a property whose values are words. */
export function wordProperty<const W extends string>(
  name: string,
  words: readonly W[],
  otherwise: NoInfer<W>,
): Entry<W, W, 'optional'> {
  return property<W, W>(
    name,
    {
      takes: either(words.map(word => `'${word}'`)),
      argument: words.join('|'),
      types: ['string'],
      parse: text => oneOf(name, text, words),
      write: word => word,
    },
    otherwise,
  )
}

/** Returns one of several words. */
export function oneOf<const W extends string>(name: string, text: string, words: readonly W[]): W {
  const word = words.find(candidate => candidate === text)
  if (word === undefined) throw badProperty(name, text, `does not accept value '${text}'`, `Use ${either(words)}.`)
  return word
}

/** Creates the error for option text that a property does not accept. */
export function badProperty(property: string, value: string, rule: string, remedy: string): AccelPropertyError {
  return new AccelPropertyError(`property '${property}' ${rule}`, { property, value, remedy })
}
