import { KvmClosedError } from '../../errors/operation/kvm-closed-error.js'
import { failed, made } from './failed.js'

const EBADF = -9

/** Something with a file descriptor. A call that it makes after it was closed is an error of its own. */
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

  /** Closes the file descriptor. What was made with it, and views of memory, stay usable. May be called again. */
  close(): void {
    this.#closed = true
    this.#native.close()
  }

  /** {@linkcode Closable.close}, at the end of a `using` scope. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** The answer of a call, unless it is `-errno`. */
  protected checked(call: string, answer: number, remedy?: string): number {
    if (answer >= 0) return answer
    this.#checkOpen(call, answer)
    throw failed(call, answer, remedy)
  }

  /** What a call made, unless it is `-errno`. */
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
