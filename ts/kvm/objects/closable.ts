import { KvmClosedError } from '../../errors/operation/kvm-closed-error.js'
import { failed, made } from './failed.js'

const EBADF = -9

/**
 * An object that owns a file descriptor. A call after it was closed throws
 * {@linkcode KvmClosedError}.
 */
export abstract class Closable {
  readonly #native: { close(): void }
  #closed = false

  protected constructor(native: { close(): void }) {
    this.#native = native
  }

  /** Whether {@linkcode Closable.close} was called. */
  get closed(): boolean {
    return this.#closed
  }

  /**
   * Closes the file descriptor. Objects that it created and views of memory stay usable. A second
   * call does nothing.
   */
  close(): void {
    this.#closed = true
    this.#native.close()
  }

  /** Calls {@linkcode Closable.close} at the end of a `using` scope. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Returns the answer of a call. Throws if it is `-errno`. */
  protected checked(call: string, answer: number, remedy?: string): number {
    if (answer >= 0) return answer
    this.#checkOpen(call, answer)
    throw failed(call, answer, remedy)
  }

  /** Returns the object that a call created. Throws if the call returned `-errno`. */
  protected made<T>(call: string, result: T | number): T {
    if (typeof result === 'number') this.#checkOpen(call, result)
    return made(call, result)
  }

  #checkOpen(call: string, answer: number): void {
    if (answer !== EBADF || !this.#closed) return
    const object = this.constructor.name
    throw new KvmClosedError(`${call} was called on a ${object} that is closed`, { object })
  }
}
