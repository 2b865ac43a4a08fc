// Options of a machine that QEMU spells plainly: read by their entries' `cli` names and arguments.

import { machineMembers, type MachineOptions } from '../../machine/config/machine-options.js'
import type { Argument } from '../../schema/argument.js'
import type { Entries } from '../../schema/entry.js'

/** Options of a machine that are not readonly. */
export type Draft<T> = { -readonly [K in keyof T]: T[K] }

/** The entries of a device's options that its own properties give, by their names on the command line. */
function ownProperties(
  members: Entries,
): readonly (readonly [cli: string, key: string, argument: Argument<unknown>])[] {
  return Object.entries(members).flatMap(([key, { cli, argument }]) =>
    cli === undefined || argument === undefined || cli === 'id' || cli.startsWith('-') ? [] : [[cli, key, argument]],
  )
}

/** The parameters of a device. */
export function deviceParameters(members: Entries): Readonly<Record<string, Argument<unknown>>> {
  return Object.fromEntries(ownProperties(members).map(([cli, , argument]) => [cli, argument]))
}

/** The options of a device from the parameters that were given. */
export function deviceOptions<Options>(
  members: Entries,
  given: Readonly<Record<string, unknown>>,
): Draft<Partial<Options>> {
  const options = ownProperties(members).flatMap(([cli, key]) => (given[cli] === undefined ? [] : [[key, given[cli]]]))
  return Object.fromEntries(options) as Draft<Partial<Options>>
}

/** The options that properties of `-machine` give. `auto` leaves an option at its default. */
export function machineOptionsOf(given: ReadonlyMap<string, string>): Partial<MachineOptions> {
  const options = Object.entries(machineMembers as Entries).flatMap(([key, { cli, argument }]) => {
    const [, property] = /^-machine (\S+)$/.exec(cli ?? '') ?? []
    const word = property === undefined ? undefined : given.get(property)
    const value = word === undefined || word === 'auto' ? undefined : argument?.read(word)
    return value === undefined ? [] : [[key, value]]
  })
  return Object.fromEntries(options) as Partial<MachineOptions>
}
