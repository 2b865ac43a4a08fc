import { invalidArgument } from '../errors/operation/argument-error.js'
import { didYouMean } from '../errors/suggest.js'
import { native } from '../native/native.js'

/** An embedded guest: a small program for demonstrations, tests and measurements. */
export interface EmbeddedGuest {
  /** The name, for {@linkcode guestImage}. */
  readonly name: string
  /**
   * What the guest does. Its options are `key=number` words of the kernel's command line (`append`),
   * here with their defaults: `count= (1000)`.
   */
  readonly about: string
}

/** Options of {@linkcode guestImage}. */
export interface GuestImageOptions {
  /** `pvh`: ELF64 with a PVH note; `multiboot`: ELF32 with a multiboot-1 header. Default `pvh`. */
  readonly format?: 'pvh' | 'multiboot'
}

/**
 * Lists the embedded guests, by name. `kvm-accel guests` prints the list.
 *
 * @throws {@linkcode KvmUnavailableError} when the addon is missing.
 *
 * @example
 * ```ts
 * import { embeddedGuests } from 'kvm-accel'
 * for (const { name, about } of embeddedGuests()) console.log(name, about)
 * ```
 */
export const embeddedGuests = (): readonly EmbeddedGuest[] => native().guests()

/**
 * Returns the image of an embedded guest, for `Machine.create({ kernel })`.
 *
 * @param name - `hello` or another name of {@linkcode embeddedGuests}.
 * @throws {@linkcode ArgumentError} when no guest has that name.
 * @throws {@linkcode KvmUnavailableError} when the addon is missing.
 *
 * @example
 * ```ts
 * import { Machine, guestImage } from 'kvm-accel'
 * await using machine = await Machine.create({ kernel: guestImage('hello'), serial: 'stdio', noReboot: true })
 * await machine.start()
 * await machine.wait()
 * ```
 */
export const guestImage = (name: string, options: GuestImageOptions = {}): Uint8Array => {
  const image = native().guestImage(name, options.format === 'multiboot')
  if (image) return image
  const names = embeddedGuests().map(guest => guest.name)
  const remedy = `embeddedGuests() and \`kvm-accel guests\` list the names.${didYouMean(String(name), names)}`
  throw invalidArgument('name', name, "the name of an embedded guest, for example 'hello'", remedy)
}
