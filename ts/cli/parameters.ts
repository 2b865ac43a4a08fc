// The `key=value` parameters of options and devices: kinds of values, and one reader for all of them.

import { OptionError } from '../errors/option-error.js'
import { didYouMean, either } from '../errors/suggest.js'
import { booleans, type Argument } from '../schema/argument.js'
import { parseOptionText, type OptionPair } from '../properties/option-text.js'

/** A parameter of an option. */
export interface Parameter<T> extends Argument<T> {
  /** Why other values are refused, for a parameter that only describes the board. */
  readonly because?: string
}

export { number, onOff, oneOf, size, text } from '../schema/argument.js'

/** The parameters of an option, by name. */
export type Parameters = Readonly<Record<string, Parameter<unknown>>>

/** What was given of some parameters. */
export type Given<P extends Parameters> = { readonly [K in keyof P]?: P[K] extends Parameter<infer T> ? T : never }

/** Whose parameters they are, for messages: the option, and with it the device or the driver. */
export interface Subject {
  readonly option: string
  /** `-device virtio-blk-device`; the option alone when absent. */
  readonly what?: string
}

/** QEMU's rule: a letter, then letters, digits, `-`, `.` and `_`. */
export const id: Parameter<string> = {
  takes: 'ID',
  read: value => (/^[A-Za-z][A-Za-z0-9._-]*$/.test(value) ? value : undefined),
}

/** A parameter that says what is so anyway: any other value is refused. `on` and `off` have all of QEMU's spellings. */
export const only = (values: string, because: string): Parameter<string> => {
  const valid = values.split('|')
  const read = (value: string) => {
    const spelled = booleans.get(value)
    return valid.find(word => word === value || (spelled !== undefined && booleans.get(word) === spelled))
  }
  return { takes: values, read, because }
}

/**
 * Reads parameters. Of duplicates the last wins.
 *
 * @throws {@link OptionError} for one that there is not, and for a value that it does not take.
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
      const remedy = names.length === 0 ? 'It takes none.' : `It takes ${either(names.map(name => `${name}=`))}.`
      throw new OptionError(`${what} has no parameter '${key}'.${didYouMean(key, names)}`, { option, remedy })
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
    const remedy = `Write '${key}=${takes}'.`
    return new OptionError(`${what}: ${key}= expects ${takes}, and not '${value}'`, { option, remedy })
  }
  const remedy = `Use ${either(takes.split('|').map(valid => `${key}=${valid}`))}, or leave it out.`
  return new OptionError(`${what} does not accept '${key}=${value}': ${because}`, { option, remedy })
}

/** A parameter that has to be there. */
export function required<T>({ option, what = option }: Subject, key: string, value: T | undefined, example: string): T {
  if (value !== undefined) return value
  throw new OptionError(`${what} needs ${key}=`, { option, remedy: `For example '${example}'.` })
}

/**
 * The pairs of an option's text, which is QEMU's `key=value,…` or a JSON object, whose members become dotted keys.
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
    throw new OptionError(`${option} is no JSON object: ${why}`, { option, remedy, cause })
  }
}

function* flatten(members: object, prefix = ''): Generator<OptionPair> {
  for (const [name, value] of Object.entries(members)) {
    const key = `${prefix}${name}`
    if (typeof value === 'object' && value !== null) yield* flatten(value as object, `${key}.`)
    else yield { key, value: typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value) }
  }
}

/** Whether an argument asks for a list of what is possible. */
export function isHelp(word: string): boolean {
  return word === 'help' || word === '?'
}

/** `name=takes` for each parameter, for `help`. */
export function parametersHelp(parameters: Parameters): string {
  return Object.entries(parameters)
    .map(([name, { takes, because }]) => `  ${`${name}=${takes}`.padEnd(34)}${because ?? ''}`.trimEnd())
    .join('\n')
}
