import type { Channel } from './channel.js'
import { PortStream } from './port-stream.js'

/** Offers input to the guest. Returns the number of bytes that were accepted. */
type Input = (bytes: Uint8Array) => number

/** A serial port as a stream. A guest whose output is not read waits in its `out` instruction. */
export class SerialPort extends PortStream {
  readonly #input: Input
  #waiting: { rest: Uint8Array; done: () => void } | undefined

  /** @internal */
  constructor(channel: Channel, input: Input) {
    super(channel)
    this.#input = input
  }

  /** @internal */
  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: () => void): void {
    const rest = this.ended ? [] : chunk.subarray(this.#input(chunk))
    this.channel.inputPassed()
    if (rest.length === 0) done()
    else this.#waiting = { rest: rest as Uint8Array, done }
  }

  /** @internal The guest has read input: bytes that wait may fit now. */
  inputDrained(): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting) this._write(waiting.rest, 'buffer' as BufferEncoding, waiting.done)
  }

  /** @internal */
  protected override dropInput(): void {
    this.#waiting?.done()
    this.#waiting = undefined
  }
}
