import { checkWhole } from '../../../errors/operation/argument-error.js'
import type { Channel } from './channel.js'
import { PortStream } from './port-stream.js'

/** The size of a terminal, in characters. */
export interface TerminalSize {
  /** The number of columns, 0 to 65535. */
  readonly columns: number
  /** The number of rows, 0 to 65535. */
  readonly rows: number
}

/**
 * A port of the virtio console as a stream. A program of the guest whose output is not read waits
 * in its `write`. `end()` ends the guest's input.
 */
export class ConsolePort extends PortStream {
  /** The name of a channel; `null` for a terminal. */
  readonly name: string | null
  readonly #resize: (columns: number, rows: number) => void
  #writing: (() => void) | undefined

  /** @internal */
  constructor(channel: Channel, name: string | null, resize: (columns: number, rows: number) => void) {
    super(channel)
    this.name = name
    this.#resize = resize
  }

  /**
   * Reports the size of the terminal on which this port is shown to the guest. Linux then sends
   * SIGWINCH. A guest that was reset gets the size again. A channel has no size.
   *
   * @throws {@linkcode ArgumentError} when a number is not a whole number from 0 to 65535.
   */
  resize({ columns, rows }: TerminalSize): void {
    checkWhole('columns', columns, 0, 0xffff)
    checkWhole('rows', rows, 0, 0xffff)
    this.#resize(columns, rows)
  }

  /** @internal */
  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: () => void): void {
    if (this.ended) return done()
    this.#writing = done
    this.channel.write(chunk, () => this.dropInput())
  }

  /** @internal */
  override _final(done: () => void): void {
    if (!this.ended) this.channel.endInput()
    done()
  }

  /** @internal */
  protected override dropInput(): void {
    const done = this.#writing
    this.#writing = undefined
    done?.()
  }
}
