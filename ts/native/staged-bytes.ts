import { setImmediate } from 'node:timers/promises'
import { errorOf, native } from './native.js'

/**
 * The number of bytes that are copied in one turn of the event loop. Copying them takes about a
 * millisecond.
 */
const PIECE = 2 ** 20

/**
 * The token of bytes in native memory. A machine's configuration refers to the bytes by their
 * token, and takes them once.
 */
export interface Staged {
  readonly bytes: number
}

/**
 * Copies the byte arrays of a machine's options to native memory. {@link stage} copies large arrays
 * piece by piece, and the event loop runs between two pieces. The caller must not change an array
 * before the machine has been created.
 */
export class StagedBytes {
  /** The tokens of copies that {@link copy} has not returned yet. */
  readonly #ready = new Map<Uint8Array, number>()
  readonly #tokens: number[] = []

  /**
   * Copies the arrays that are larger than one piece.
   *
   * @throws the reason of `signal` when it is aborted; `MachineConfigError` when the host has no
   * memory for a copy.
   */
  async stage(arrays: readonly unknown[], signal: AbortSignal | null): Promise<void> {
    for (const bytes of arrays) {
      if (!(bytes instanceof Uint8Array) || bytes.length <= PIECE || this.#ready.has(bytes)) continue
      const token = this.#reserve(bytes.length)
      this.#ready.set(bytes, token)
      for (let at = 0; at < bytes.length; at += PIECE) {
        native().appendBytes(token, bytes.subarray(at, at + PIECE))
        await setImmediate()
        signal?.throwIfAborted()
      }
    }
  }

  /**
   * Returns the copy of an array. A machine takes a copy once. A second call for the same array
   * copies it again, synchronously.
   *
   * @throws `MachineConfigError` when the host is out of memory for a copy.
   */
  copy(bytes: Uint8Array): Staged {
    const ready = this.#ready.get(bytes)
    if (ready !== undefined) {
      this.#ready.delete(bytes)
      return { bytes: ready }
    }
    const token = this.#reserve(bytes.length)
    native().appendBytes(token, bytes)
    return { bytes: token }
  }

  /** Discards the copies that no machine has taken. */
  [Symbol.dispose](): void {
    for (const token of this.#tokens) native().dropBytes(token)
  }

  #reserve(length: number): number {
    const { token, error } = native().stageBytes(length)
    if (error) throw errorOf(error)
    this.#tokens.push(token)
    return token
  }
}
