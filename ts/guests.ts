import { invalidArgument } from './errors/operation/argument-error.js'
import { native } from './native/native.js'

/** Options of {@linkcode guestImage}. */
export interface GuestImageOptions {
  /** `pvh`: ELF64 with a PVH note; `multiboot`: ELF32 with a multiboot-1 header. Default `pvh`. */
  readonly format?: 'pvh' | 'multiboot'
}

/**
 * Returns the image of an embedded guest, for `Machine.create({ kernel })`.
 *
 * @param name - `hello` or another name of the table in `crates/guests`.
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
  if (!image) throw invalidArgument('name', name, "the name of an embedded guest, for example 'hello'")
  return image
}
