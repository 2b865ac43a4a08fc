// `kvm-accel guests`.

import { embeddedGuests, guestImage } from '../../machine/guests.js'
import { invalidArgument } from '../../errors/operation/argument-error.js'

/** Returns the list of embedded guests. */
export function guestList(): string {
  const guests = embeddedGuests()
  const width = Math.max(...guests.map(({ name }) => name.length))
  return guests.map(({ name, about }) => `${name.padEnd(width)}  ${about}\n`).join('')
}

/**
 * Returns the image of a guest, for standard output.
 *
 * @throws `ArgumentError` for an unknown name, and for a terminal.
 */
export function guestFor(name: string, stdout: { readonly isTTY?: boolean }): Uint8Array {
  const image = guestImage(name)
  if (!stdout.isTTY) return image
  const remedy = `Write the image to a file: kvm-accel guests ${name} > ${name}.elf`
  throw invalidArgument('standard output', 'a terminal', 'a file or a pipe', remedy)
}
