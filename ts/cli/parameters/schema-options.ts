// Converts options that QEMU spells as plain `key=value` pairs, by the `cli` names and arguments of
// their entries.

import { machineMembers, type MachineOptions } from '../../machine/config/machine-options.js'
import type { Argument } from '../../schema/argument.js'
import type { Entries } from '../../schema/entry.js'

/** The options of a machine without `readonly`. */
export type Draft<T> = { -readonly [K in keyof T]: T[K] }

/**
 * Returns those entries of a device's options that are the device's own properties, by their names
 * on the command line.
 */
function ownProperties(
  members: Entries,
): readonly (readonly [cli: string, key: string, argument: Argument<unknown>])[] {
  return Object.entries(members).flatMap(([key, { cli, argument }]) =>
    cli === undefined || argument === undefined || cli === 'id' || cli.startsWith('-') ? [] : [[cli, key, argument]],
  )
}

/** Returns the parameters of a device. */
export function deviceParameters(members: Entries): Readonly<Record<string, Argument<unknown>>> {
  return Object.fromEntries(ownProperties(members).map(([cli, , argument]) => [cli, argument]))
}

/** Returns the options of a device for the parameters that were given. */
export function deviceOptions<Options>(
  members: Entries,
  given: Readonly<Record<string, unknown>>,
): Draft<Partial<Options>> {
  const options = ownProperties(members).flatMap(([cli, key]) => (given[cli] === undefined ? [] : [[key, given[cli]]]))
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
