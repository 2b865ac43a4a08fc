import { Closable } from './closable.js'

/** The classes of the addon for an object whose ioctls are called by number. */
interface Native {
  withValue(request: number, value: number): number
  withBytes(request: number, bytes: Uint8Array): number
  close(): void
}

/** An object of the kernel, with the numbers of its ioctls by their names. */
export abstract class KvmObject<Requests extends Readonly<Record<string, number>>> extends Closable {
  readonly #native: Native
  readonly #requests: Requests

  protected constructor(native: Native, requests: Requests) {
    super(native)
    this.#native = native
    this.#requests = requests
  }

  /** Calls an ioctl with a number. Returns the kernel's answer. */
  protected withValue(ioctl: keyof Requests & string, value = 0): number {
    return this.checked(ioctl, this.#native.withValue(this.#requests[ioctl] as number, value))
  }

  /** Calls an ioctl with these bytes. Returns the kernel's answer. */
  protected withBytes(ioctl: keyof Requests & string, bytes: Uint8Array): number {
    return this.checked(ioctl, this.#native.withBytes(this.#requests[ioctl] as number, bytes))
  }

  /** Calls an ioctl that fills a structure. Returns the structure. */
  protected filled<S extends { readonly bytes: Uint8Array }>(ioctl: keyof Requests & string, into: S): S {
    this.withBytes(ioctl, into.bytes)
    return into
  }
}
