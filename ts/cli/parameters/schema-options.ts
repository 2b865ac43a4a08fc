// Converts options that QEMU spells as plain `key=value` pairs, by the `cli` names and arguments of
// their entries.

import { machineMembers, type MachineOptions } from '../../machine/config/machine-options.js'
import type { Argument } from '../../schema/argument.js'
import type { Entries } from '../../schema/entry.js'
import { optionSentences } from './option-sentences.js'
import type { Parameter } from './parameters.js'

/** The options of a machine without `readonly`. */
export type Draft<T> = { -readonly [K in keyof T]: T[K] }

/**
 * Returns those entries that are parameters of an option (`-drive`), or of the enclosing device, by
 * their names on the command line.
 */
function parametersOf(
  members: Entries,
  option: string | undefined,
): readonly (readonly [cli: string, key: string, argument: Argument<unknown>])[] {
  return Object.entries(members).flatMap(([key, { cli = '', argument }]) => {
    const [, of, name] = /^(?:(-\S+) )?([^-]\S*)$/.exec(cli) ?? []
    return name === undefined || name === 'id' || argument === undefined || of !== option ? [] : [[name, key, argument]]
  })
}

/**
 * Returns the parameters of an option, or of a device.
 *
 * @param name The public interface of the members, whose comments describe the parameters.
 */
export function schemaParameters(
  name: string,
  members: Entries,
  option?: string,
): Readonly<Record<string, Parameter<unknown>>> {
  return Object.fromEntries(
    parametersOf(members, option).map(([cli, key, argument]) => [
      cli,
      { ...argument, ...describe(name, key), defaultText: optionText(members[key]?.defaultText) },
    ]),
  )
}

/** Converts a default to the spelling of the command line. */
function optionText(defaultText: string | undefined): string | undefined {
  if (defaultText === 'true' || defaultText === 'false') return defaultText === 'true' ? 'on' : 'off'
  return defaultText?.replace(/^'(.*)'$/, '$1')
}

/** Returns the sentence of an option, for a table of parameters. */
function describe(name: string, key: string): Pick<Parameter<unknown>, 'about'> {
  const about = (optionSentences as Readonly<Record<string, string>>)[`${name}.${key}`]
  return about === undefined ? {} : { about }
}

/** Returns the options for the parameters that were given. */
export function schemaOptions<Options>(
  members: Entries,
  given: Readonly<Record<string, unknown>>,
  option?: string,
): Draft<Partial<Options>> {
  const options = parametersOf(members, option).flatMap(([cli, key]) =>
    given[cli] === undefined ? [] : [[key, given[cli]]],
  )
  return Object.fromEntries(options) as Draft<Partial<Options>>
}

/** Returns the options for the properties of `-machine`. `auto` leaves an option at its default. */
export function machineOptionsOf(given: ReadonlyMap<string, string>): Partial<MachineOptions> {
  const options = Object.entries(machineMembers as Entries).flatMap(([key, { cli, argument }]) => {
    const [, property] = /^-machine (\S+)$/.exec(cli ?? '') ?? []
    const word = property === undefined ? undefined : given.get(property)
    const value = word === undefined || word === 'auto' ? undefined : argument?.read(word)
    return value === undefined ? [] : [[key, value]]
  })
  return Object.fromEntries(options) as Partial<MachineOptions>
}
