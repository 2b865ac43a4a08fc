// The `key=value` parameters of options and devices: the kinds of values, and their reader.

import { OptionError } from '../../errors/options/option-error.js'
import { didYouMean, either } from '../../errors/suggest.js'
import { booleans, type Argument } from '../../schema/argument.js'
import { parseOptionText, type OptionPair } from '../../properties/option-text.js'
import { row } from './columns.js'

/** A parameter of an option. */
export interface Parameter<T> extends Argument<T> {
  /** One sentence for help. */
  readonly about?: string
  /** The default, for help. */
  readonly defaultText?: string | undefined
  /** Why other values are refused, for a parameter that describes a fixed feature. */
  readonly because?: string
}

export { number, onOff, oneOf, size, text } from '../../schema/argument.js'

/** The parameters of an option, by name. */
export type Parameters = Readonly<Record<string, Parameter<unknown>>>

/** The values of the parameters that were given. */
export type Given<P extends Parameters> = { readonly [K in keyof P]?: P[K] extends Parameter<infer T> ? T : never }

/** The owner of parameters, for messages: the option, and the device or the driver. */
export interface Subject {
  readonly option: string
  /** For example `-device virtio-blk-device`. Without it, messages name the option. */
  readonly what?: string
}

/** QEMU's rule: a letter, then letters, digits, `-`, `.` and `_`. */
export const id: Parameter<string> = {
  takes: 'ID',
  read: value => (/^[A-Za-z][A-Za-z0-9._-]*$/.test(value) ? value : undefined),
}

/**
 * A parameter that describes a fixed feature: other values are refused. `on` and `off` have all of
 * QEMU's spellings.
 */
export const only = (values: string, because: string): Parameter<string> => {
  const valid = values.split('|')
  const read = (value: string) => {
    const spelled = booleans.get(value)
    return valid.find(word => word === value || (spelled !== undefined && booleans.get(word) === spelled))
  }
  return { takes: values, read, because }
}

/**
 * Reads parameters. Of duplicates the last one counts.
 *
 * @throws {@link OptionError} for an unknown parameter and for an invalid value.
 */
export function readParameters<P extends Parameters>(
  { option, what = option }: Subject,
  pairs: readonly OptionPair[],
  parameters: P,
): Given<P> {
  const given: Record<string, unknown> = {}
  for (const { key, value } of pairs) {
    const parameter = Object.hasOwn(parameters, key) ? parameters[key] : undefined
    if (parameter === undefined) {
      const names = Object.keys(parameters)
      const remedy =
        names.length === 0 ? 'Leave it out: there are no parameters.' : `Use ${either(names.map(name => `${name}=`))}.`
      throw new OptionError(`${what}: unknown parameter '${key}'.${didYouMean(key, names)}`, { option, remedy })
    }
    const read = parameter.read(value)
    if (read === undefined) throw badValue({ option, what }, key, value, parameter)
    given[key] = read
  }
  return given as Given<P>
}

function badValue({ option, what }: Required<Subject>, key: string, value: string, parameter: Parameter<unknown>) {
  const { takes, because } = parameter
  if (because === undefined) {
    const remedy = `Use '${key}=${takes}'.`
    return new OptionError(`${what}: ${key}= expects ${takes}, and not '${value}'`, { option, remedy })
  }
  const remedy = `Use ${either(takes.split('|').map(valid => `${key}=${valid}`))}, or leave it out.`
  return new OptionError(`${what} does not accept '${key}=${value}': ${because}`, { option, remedy })
}

/** Returns a required parameter. */
export function required<T>({ option, what = option }: Subject, key: string, value: T | undefined, example: string): T {
  if (value !== undefined) return value
  throw new OptionError(`${what} needs ${key}=`, { option, remedy: `For example '${example}'.` })
}

/**
 * Splits the text of an option into pairs. The text is QEMU's `key=value,…` or a JSON object, whose
 * members become dotted keys.
 *
 * @param implied The key of a first word that stands alone.
 */
export function optionPairs(option: string, words: string, implied: string, known: Parameters = {}): OptionPair[] {
  if (!words.startsWith('{')) return parseOptionText(words, implied, Object.keys(known))
  try {
    return [...flatten(JSON.parse(words) as object)]
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const remedy = `For example '${option} {"${implied}":"…"}'.`
    throw new OptionError(`${option}: invalid JSON: ${why}`, { option, remedy, cause })
  }
}

function* flatten(members: object, prefix = ''): Generator<OptionPair> {
  for (const [name, value] of Object.entries(members)) {
    const key = `${prefix}${name}`
    if (typeof value === 'object' && value !== null) yield* flatten(value as object, `${key}.`)
    else yield { key, value: typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value) }
  }
}

/** Returns true if an argument asks for the list of possible values. */
export function isHelp(word: string): boolean {
  return word === 'help' || word === '?'
}

/** Lists the parameters of a device, an object or a back end, for `help`. */
export function parametersHelp(what: string, parameters: Parameters): string {
  return `${what} options:\n${parameterRows(parameters)}`
}

/** Lists parameters, sorted by name as in QEMU. */
export function parameterRows(parameters: Parameters): string {
  return Object.entries(parameters)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { takes, about, because, defaultText }]) => {
      const text = about ?? (because === undefined ? '' : `Fixed: ${because}.`)
      return row(`${name}=${takes}`, defaultText === undefined ? text : `${text} Default: ${defaultText}.`)
    })
    .join('\n')
}
