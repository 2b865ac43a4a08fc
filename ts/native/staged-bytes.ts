import { setImmediate } from 'node:timers/promises'
import { errorOf, native } from './native.js'

/** Bytes that are copied at once: about a millisecond. */
const PIECE = 2 ** 20

/** The token of bytes in native memory. A machine's configuration takes them by it, once. */
export interface Staged {
  readonly bytes: number
}

/**
 * Copies the byte arrays of a machine's options to native memory. {@link stage} copies large ones piece by piece: the event loop goes on
 * between two pieces. The caller must not change an array before the machine exists.
 */
export class StagedBytes {
  /** Copies that {@link copy} has not returned yet. */
  readonly #ready = new Map<Uint8Array, number>()
  readonly #tokens: number[] = []

  /**
   * Copies those arrays that are larger than one piece.
   *
   * @throws what `signal` was aborted with; `MachineConfigError` when the host has no memory for a copy.
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
   * The copy of an array. A machine takes it once: for another use the array is copied again, at once.
   *
   * @throws `MachineConfigError` when the host has no memory for a copy.
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

  /** Forgets copies that no machine took. */
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
