import { setImmediate } from 'node:timers/promises'
import { native, unwrap } from './native.js'

/** Bytes that are copied at once: about a millisecond. */
const PIECE = 2 ** 20

/**
 * Copies large byte arrays of a machine's options to native memory, piece by piece: the event loop goes on between two pieces. The caller must
 * not change an array before the machine exists.
 */
export class StagedBytes {
  readonly #tokens = new Map<Uint8Array, number>()
  readonly #taken = new Set<Uint8Array>()

  /**
   * Copies those arrays that are larger than one piece.
   *
   * @throws what `signal` was aborted with; `MachineConfigError` when the host has no memory for a copy.
   */
  async stage(arrays: readonly unknown[], signal: AbortSignal | null): Promise<void> {
    for (const bytes of arrays) {
      if (!(bytes instanceof Uint8Array) || bytes.length <= PIECE || this.#tokens.has(bytes)) continue
      const { token, error } = native().stageBytes(bytes.length)
      if (error) unwrap(error)
      this.#tokens.set(bytes, token)
      for (let at = 0; at < bytes.length; at += PIECE) {
        native().appendBytes(token, bytes.subarray(at, at + PIECE))
        await setImmediate()
        signal?.throwIfAborted()
      }
    }
  }

  /** What the addon takes in place of a source. The copy of an array is taken once: another use of the array is copied at once. */
  source(source: string | Uint8Array): string | Uint8Array | number {
    if (typeof source === 'string') return source
    const token = this.#taken.has(source) ? undefined : this.#tokens.get(source)
    this.#taken.add(source)
    return token ?? source
  }

  /** Forgets copies that no machine took. */
  [Symbol.dispose](): void {
    for (const token of this.#tokens.values()) native().dropBytes(token)
  }
}
